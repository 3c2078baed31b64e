package lockserver

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

const (
	envClientCert = "LOCKSERVER_CLIENT_CERT"
	envClientKey  = "LOCKSERVER_CLIENT_KEY"
)

// certificateFiles are a certificate and its key in files, which are read again when they change.
type certificateFiles struct {
	cert, key string

	mu      sync.Mutex
	changed [2]time.Time // modification times when they were read
	current *tls.Certificate
}

// newCertificateFiles returns nil if neither file is named.
func newCertificateFiles(cert, key string) (*certificateFiles, error) {
	switch {
	case cert == "" && key == "":
		return nil, nil
	case cert == "":
		return nil, misconfigured(envClientCert, fmt.Sprintf("%s is missing, and %s is %q (allowed: both or none)", envClientCert, envClientKey, key))
	case key == "":
		return nil, misconfigured(envClientKey, fmt.Sprintf("%s is missing, and %s is %q (allowed: both or none)", envClientKey, envClientCert, cert))
	}
	f := &certificateFiles{cert: cert, key: key}
	if err := f.read(f.times()); err != nil {
		return nil, misconfigured(envClientCert, fmt.Sprintf("%s %q and %s %q cannot be used: %v (allowed: a certificate and its private key, in PEM)", envClientCert, cert, envClientKey, key, err))
	}
	return f, nil
}

// times are when the files were last changed; zero for one that is not there.
func (f *certificateFiles) times() (t [2]time.Time) {
	for i, name := range []string{f.cert, f.key} {
		if info, err := os.Stat(name); err == nil {
			t[i] = info.ModTime()
		}
	}
	return t
}

func (f *certificateFiles) read(changed [2]time.Time) error {
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err == nil {
		f.current, f.changed = &pair, changed
	}
	return err
}

// get returns what the files held when they could last be used: of two that are being replaced, one may still be the old one.
func (f *certificateFiles) get(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now := f.times(); now != f.changed {
		_ = f.read(now)
	}
	return f.current, nil
}

// refusesCertificate returns the alert by which a server says that it does not accept the client's certificate, or has got none; nil for any
// other error. With TLS 1.3 it comes in place of the first answer.
func refusesCertificate(err error) error {
	var alert *net.OpError
	if !errors.As(err, &alert) || alert.Op != "remote error" {
		return nil
	}
	for _, code := range []tls.AlertError{42, 43, 44, 45, 46, 48, 49, 116} { // bad, unsupported, revoked, expired, unknown, unknown CA, access denied, required
		if alert.Err.Error() == code.Error() {
			return alert.Err
		}
	}
	return nil
}
