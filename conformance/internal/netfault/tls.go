package netfault

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"time"
)

// TunnelHost is a name for the server that only a Tunnel can reach; a link's certificate is for it too.
const TunnelHost = "lockserver.test"

// clientPair makes a certificate of a client, which is its own authority, and both parts in PEM.
func clientPair() (cert *x509.Certificate, certPEM, keyPEM []byte, err error) {
	pair, certPEM, err := issue(&x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}})
	if err != nil {
		return nil, nil, nil, err
	}
	key, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		return nil, nil, nil, err
	}
	cert, err = x509.ParseCertificate(pair.Certificate[0])
	return cert, certPEM, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), err
}

// certificate makes a certificate for one host, or for another one, which is its own authority, and its PEM text.
func certificate(host string, other bool) (tls.Certificate, []byte, error) {
	c := &x509.Certificate{ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	switch ip := net.ParseIP(host); {
	case other:
		c.DNSNames = []string{"another-host.test"}
	case ip != nil:
		c.IPAddresses, c.DNSNames = []net.IP{ip}, []string{TunnelHost}
	default:
		c.DNSNames = []string{host, TunnelHost}
	}
	return issue(c)
}

// issue completes a certificate that is its own authority.
func issue(c *x509.Certificate) (tls.Certificate, []byte, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	now := time.Now()
	c.SerialNumber, c.Subject = big.NewInt(now.UnixNano()), pkix.Name{CommonName: "conformance"}
	c.NotBefore, c.NotAfter = now.Add(-time.Hour), now.Add(24*time.Hour)
	c.IsCA, c.BasicConstraintsValid, c.KeyUsage = true, true, x509.KeyUsageDigitalSignature|x509.KeyUsageCertSign
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		return tls.Certificate{}, nil, err
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
