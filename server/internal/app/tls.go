package app

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/lockserver/lockserver/server/internal/config"
)

// file is what a file holds. It is read again when it changes, as certificates are renewed while servers run.
type file[T any] struct {
	what string
	path string // its time of modification tells whether it has changed
	read func() (T, error)
	log  *slog.Logger

	mu      sync.Mutex
	changed time.Time // modification time of the file when it was read
	tried   time.Time // when it could not be used
	current T
}

// tryEvery bounds how often a file that cannot be used is read and logged, since anybody can begin a handshake.
const tryEvery = time.Second

func readFile[T any](what, path string, log *slog.Logger, read func() (T, error)) (*file[T], error) {
	f := &file[T]{what: what, path: path, read: read, log: log}
	return f, f.reload()
}

// get returns what the file held when it could last be used. It is called for each handshake.
func (f *file[T]) get() T {
	f.mu.Lock()
	defer f.mu.Unlock()
	if time.Since(f.tried) < tryEvery {
		return f.current
	}
	if info, err := os.Stat(f.path); err == nil && !info.ModTime().Equal(f.changed) {
		f.again()
	}
	return f.current
}

// refresh reads the file again, changed or not.
func (f *file[T]) refresh() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.again()
}

// again takes up what is in the file. Of two files that belong together, only one may have been replaced yet, so what was there before is
// used until the new one fits.
func (f *file[T]) again() {
	if err := f.reload(); err != nil {
		f.tried = time.Now()
		f.log.Warn("new "+f.what+" cannot be used yet; the old one serves on", "file", f.path, "error", err)
		return
	}
	f.log.Info(f.what+" read again", "file", f.path)
}

func (f *file[T]) reload() error {
	info, err := os.Stat(f.path)
	if err != nil {
		return err
	}
	next, err := f.read()
	if err != nil {
		return err
	}
	f.current, f.changed = next, info.ModTime()
	return nil
}

// encryption is how connections are encrypted.
type encryption struct {
	certificate *file[*tls.Certificate]
	clients     *file[*x509.CertPool] // who issues the certificates of clients; nil if they need none
}

// newEncryption returns nil if there is no certificate.
func newEncryption(opts *config.Options, log *slog.Logger) (*encryption, error) {
	if opts.TLSCert == "" {
		return nil, nil
	}
	e := &encryption{}
	var err error
	e.certificate, err = readFile("certificate", opts.TLSCert, log, func() (*tls.Certificate, error) {
		pair, err := tls.LoadX509KeyPair(opts.TLSCert, opts.TLSKey)
		return &pair, err
	})
	if err != nil {
		return nil, fmt.Errorf("--tls-cert %s, --tls-key %s: %w", opts.TLSCert, opts.TLSKey, err)
	}
	if opts.TLSClientCA == "" {
		return e, nil
	}
	e.clients, err = readFile("list of who issues certificates of clients", opts.TLSClientCA, log, func() (*x509.CertPool, error) {
		return config.ReadPool(opts.TLSClientCA)
	})
	if err != nil {
		return nil, fmt.Errorf("--tls-client-ca %s: %w", opts.TLSClientCA, err)
	}
	return e, nil
}

// config returns the settings of a server, or nil without encryption.
func (e *encryption) config() *tls.Config {
	if e == nil {
		return nil
	}
	c := &tls.Config{
		MinVersion:     tls.VersionTLS12,
		NextProtos:     []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return e.certificate.get(), nil },
	}
	if e.clients != nil {
		c.ClientAuth, c.VerifyConnection = tls.RequireAnyClientCert, e.admit
	}
	return c
}

// admit decides about the certificate of a client, also when a TLS session is resumed. Besides those that are issued for clients, it
// admits the server's own: the health check of the same container has that one.
func (e *encryption) admit(c tls.ConnectionState) error {
	if len(c.PeerCertificates) == 0 {
		return errors.New("the client shows no certificate")
	}
	shown := c.PeerCertificates[0]
	if bytes.Equal(shown.Raw, e.certificate.get().Certificate[0]) {
		return nil
	}
	chain := x509.NewCertPool()
	for _, between := range c.PeerCertificates[1:] {
		chain.AddCert(between)
	}
	_, err := shown.Verify(x509.VerifyOptions{Roots: e.clients.get(), Intermediates: chain, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	return err
}

// own returns what gives the server's own certificate, or nil without encryption.
func (e *encryption) own() func() *tls.Certificate {
	if e == nil {
		return nil
	}
	return e.certificate.get
}

func (e *encryption) refresh() {
	if e == nil {
		return
	}
	e.certificate.refresh()
	if e.clients != nil {
		e.clients.refresh()
	}
}
