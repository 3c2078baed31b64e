package config

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// checkTLS checks, before anything listens, that the certificate and its key can be used. It adds a warning if a secret would cross
// the network in the clear.
func checkTLS(o *Options, dir string) error {
	const cert, key = "--" + certFlag + " (LOCKSERVER_TLS_CERT)", "--" + keyFlag + " (LOCKSERVER_TLS_KEY)"
	const clientCA = "--" + clientCAFlag + " (LOCKSERVER_TLS_CLIENT_CA)"
	switch {
	case o.TLSCert == "" && o.TLSKey == "" && o.TLSClientCA != "":
		return &refusal{cert, fmt.Sprintf("is missing, and %s is %q; allowed: all three, or none", clientCA, o.TLSClientCA)}
	case o.TLSCert == "" && o.TLSKey == "":
		if o.Bind.IsValid() && !isLoopback(o.Bind) {
			o.Warnings = append(o.Warnings, fmt.Sprintf("NOT ENCRYPTED: --bind %s lets other machines reach the server, and whoever can listen to "+
				"that network can read the secret; set %s and %s, or leave encryption to a proxy in front", o.Bind, cert, key))
		}
		return nil
	case o.TLSCert == "":
		return &refusal{cert, fmt.Sprintf("is missing, and %s is %q; allowed: both or none", key, o.TLSKey)}
	case o.TLSKey == "":
		return &refusal{key, fmt.Sprintf("is missing, and %s is %q; allowed: both or none", cert, o.TLSCert)}
	}
	for _, file := range []*string{&o.TLSCert, &o.TLSKey, &o.TLSClientCA} {
		if *file != "" && !filepath.IsAbs(*file) {
			*file = filepath.Join(dir, *file)
		}
	}
	if _, err := tls.LoadX509KeyPair(o.TLSCert, o.TLSKey); err != nil {
		return &refusal{cert, fmt.Sprintf("%q with %s %q cannot be used: %v; allowed: a certificate and its private key, in PEM", o.TLSCert, key, o.TLSKey, err)}
	}
	if o.TLSClientCA != "" {
		if _, err := ReadPool(o.TLSClientCA); err != nil {
			return &refusal{clientCA, fmt.Sprintf("%q cannot be used: %v; allowed: certificates, in PEM", o.TLSClientCA, err)}
		}
	}
	return nil
}

// ReadPool reads the certificates in a file.
func ReadPool(file string) (*x509.CertPool, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(content) {
		return nil, errors.New("there is no certificate in it")
	}
	return pool, nil
}
