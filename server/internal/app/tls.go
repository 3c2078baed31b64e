package app

import (
	"crypto/tls"
	"log/slog"
	"os"
	"sync"
	"time"
)

// certificate is a certificate in files. It is read again when they change, as certificates are renewed while servers run.
type certificate struct {
	certFile, keyFile string
	log               *slog.Logger

	mu      sync.Mutex
	changed time.Time // modification time of the certificate's file when it was read
	tried   time.Time // when a pair that does not fit was last read
	current *tls.Certificate
}

// tryEvery bounds how often a pair that does not fit is read and logged, since anybody can begin a handshake.
const tryEvery = time.Second

// tlsConfig returns nil if there is no certificate.
func tlsConfig(certFile, keyFile string, log *slog.Logger) (*tls.Config, error) {
	if certFile == "" {
		return nil, nil
	}
	c := &certificate{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.read(); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: c.get}, nil
}

// get is called for each handshake.
func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.tried) < tryEvery {
		return c.current, nil
	}
	if info, err := os.Stat(c.certFile); err == nil && !info.ModTime().Equal(c.changed) {
		// The key may not have been replaced yet. The old pair is used until the new one fits.
		if err := c.read(); err != nil {
			c.tried = time.Now()
			c.log.Warn("new certificate cannot be used yet; the old one serves on", "file", c.certFile, "error", err)
		} else {
			c.log.Info("certificate read again", "file", c.certFile)
		}
	}
	return c.current, nil
}

func (c *certificate) read() error {
	info, err := os.Stat(c.certFile)
	if err != nil {
		return err
	}
	pair, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return err
	}
	c.current, c.changed = &pair, info.ModTime()
	return nil
}
