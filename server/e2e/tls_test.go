package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// certify writes a certificate for this machine and its key, and returns a pool that trusts it.
func certify(t *testing.T, dir, name string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	require.NoError(t, err)
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	write := func(file, kind string, content []byte) {
		replace(t, filepath.Join(dir, file), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: content}))
	}
	write("key.pem", "PRIVATE KEY", keyDER)
	write("cert.pem", "CERTIFICATE", der)
	pool := x509.NewCertPool()
	cert, err := x509.ParseCertificate(der)
	require.NoError(t, err)
	pool.AddCert(cert)
	return pool
}

// replace writes a file. One that was there gets another time: many file systems do not tell apart what is written within milliseconds.
func replace(t *testing.T, path string, content []byte) {
	t.Helper()
	before, missing := os.Stat(path)
	require.NoError(t, os.WriteFile(path, content, 0o600))
	if missing == nil {
		later := before.ModTime().Add(time.Second)
		require.NoError(t, os.Chtimes(path, later, later))
	}
}

func encrypted(t *testing.T, dir string) *process {
	t.Helper()
	return launch{dir: dir, args: []string{"--store", "memory", "--tls-cert", "cert.pem", "--tls-key", "key.pem"}}.start(t)
}

func TestTLSServesHTTP1AndHTTP2(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pool := certify(t, dir, "first")
	p := encrypted(t, dir)
	require.True(t, strings.HasPrefix(p.url, "https://"), p.url)
	for proto, http2 := range map[string]bool{"HTTP/1.1": false, "HTTP/2.0": true} {
		c := newClient(t, p.url)
		c.transport.TLSClientConfig = &tls.Config{RootCAs: pool}
		c.transport.ForceAttemptHTTP2 = http2
		resource := "over " + proto
		granted := c.acquire(t, fields{"resource": resource, "owner": "a"})
		require.Equal(t, http.StatusOK, granted.status)
		// Waiting is pushed over either.
		next := c.later(t, fields{"resource": resource, "owner": "b", "wait": 30})
		require.Eventually(t, func() bool { return c.show(t, resource).Waiters == 1 }, patience, 5*time.Millisecond)
		require.Equal(t, http.StatusOK, c.release(t, fields{"resource": resource, "owner": "a", "token": granted.Token}).status)
		require.Greater(t, (<-next).Token, granted.Token)

		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/healthz", nil)
		require.NoError(t, err)
		resp, err := c.transport.RoundTrip(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		require.Equal(t, proto, resp.Proto)
	}
}

func TestTLSRefusesOldVersions(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pool := certify(t, dir, "first")
	p := encrypted(t, dir)
	dial := func(newest uint16) error {
		conn, err := (&tls.Dialer{Config: &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS10, MaxVersion: newest}}).
			DialContext(t.Context(), "tcp", strings.TrimPrefix(p.url, "https://"))
		if err == nil {
			err = conn.Close()
		}
		return err
	}
	require.ErrorContains(t, dial(tls.VersionTLS11), "protocol version")
	require.NoError(t, dial(tls.VersionTLS12))
	require.NoError(t, dial(tls.VersionTLS13))
}

func TestTLSTakesUpARenewedCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certify(t, dir, "first")
	p := encrypted(t, dir)
	pool := certify(t, dir, "second")
	c := newClient(t, p.url)
	c.transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	require.Equal(t, http.StatusOK, c.acquire(t, fields{"resource": "r", "owner": "a"}).status)

	// One that does not fit its key is not taken up: the last good one serves on.
	replace(t, filepath.Join(dir, "cert.pem"), []byte("half written"))
	again := newClient(t, p.url)
	again.transport.TLSClientConfig = &tls.Config{RootCAs: pool}
	require.Equal(t, http.StatusOK, again.release(t, fields{"resource": "r", "owner": "a"}).status)
	p.logged("the old one serves on")
}

func TestHealthcheckOverTLS(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certify(t, dir, "first")
	p := encrypted(t, dir)
	_, port, err := net.SplitHostPort(strings.TrimPrefix(p.url, "https://"))
	require.NoError(t, err)
	out := launch{dir: dir, args: []string{"healthcheck", "--port", port, "--tls-cert", "cert.pem", "--tls-key", "key.pem"}}.finish(t)
	require.Equal(t, 0, out.code, out.stderr)
}

func TestBadTLSSettings(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certify(t, dir, "first")
	require.NoError(t, os.WriteFile(filepath.Join(dir, "empty.pem"), nil, 0o600))
	for name, c := range map[string]struct {
		args []string
		want []string
	}{
		"no key":  {[]string{"--tls-cert", "cert.pem"}, []string{"--tls-key (LOCKSERVER_TLS_KEY)", "missing", "both or none"}},
		"no cert": {[]string{"--tls-key", "key.pem"}, []string{"--tls-cert (LOCKSERVER_TLS_CERT)", "missing", "both or none"}},
		"no file": {[]string{"--tls-cert", "absent.pem", "--tls-key", "key.pem"}, []string{"--tls-cert", "absent.pem", "no such file"}},
		"no PEM":  {[]string{"--tls-cert", "empty.pem", "--tls-key", "key.pem"}, []string{"--tls-cert", "empty.pem", "allowed: a certificate and its private key"}},
		"swapped": {[]string{"--tls-cert", "key.pem", "--tls-key", "cert.pem"}, []string{"--tls-cert", "key.pem", "allowed"}},
	} {
		t.Run(name, func(t *testing.T) {
			out := launch{dir: dir, env: []string{"LOCKSERVER_SECRET=" + secret}, args: append(c.args, "--port", "0")}.finish(t)
			require.Equal(t, 2, out.code)
			for _, want := range c.want {
				require.Contains(t, out.stderr, want)
			}
		})
	}
}

func TestWarnsLoudlyWithoutEncryptionBeyondLoopback(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	certify(t, dir, "first")
	open := launch{dir: dir, args: []string{"--store", "memory", "--bind", "0.0.0.0"}}.start(t)
	require.Contains(t, open.logged("msg=serving"), "NOT ENCRYPTED")
	closed := launch{dir: dir, args: []string{"--store", "memory", "--bind", "0.0.0.0", "--tls-cert", "cert.pem", "--tls-key", "key.pem"}}.start(t)
	require.NotContains(t, closed.logged("msg=serving"), "NOT ENCRYPTED")
	local := launch{dir: dir, args: []string{"--store", "memory"}}.start(t)
	require.NotContains(t, local.logged("msg=serving"), "NOT ENCRYPTED")
}

// Secrets are changed without a gap: the new one beside the old, then all clients, then the new one alone.
func TestSecretRotation(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const next = "rotated-9876543210"
	status := func(p *process, with string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/locks", nil)
		require.NoError(t, err)
		req.Header.Set("X-LOCKSERVER-SECRET", with)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	for i, step := range []struct {
		env      []string
		old, new int
	}{
		{nil, http.StatusOK, http.StatusUnauthorized},
		{[]string{"LOCKSERVER_SECRET=" + next, "LOCKSERVER_SECRET_PREVIOUS=" + secret}, http.StatusOK, http.StatusOK},
		{[]string{"LOCKSERVER_SECRET=" + next}, http.StatusUnauthorized, http.StatusOK},
	} {
		p := launch{dir: dir, env: step.env}.start(t)
		at := fmt.Sprintf("step %d", i)
		require.Equal(t, step.old, status(p, secret), at)
		require.Equal(t, step.new, status(p, next), at)
		p.signal(os.Interrupt)
		require.Zero(t, p.exitCode())
		require.NotContains(t, p.stderr.String(), next)
	}
}
