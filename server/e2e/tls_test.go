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
	"syscall"
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

// issue makes a certificate with this use, and the pool that says who issued it.
func issue(t *testing.T, uses ...x509.ExtKeyUsage) (tls.Certificate, []byte) {
	t.Helper()
	sign := func(template, parent *x509.Certificate, signer any) (*x509.Certificate, *ecdsa.PrivateKey) {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		require.NoError(t, err)
		if signer == nil {
			parent, signer = template, key
		}
		template.SerialNumber = big.NewInt(time.Now().UnixNano())
		template.NotBefore, template.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
		der, err := x509.CreateCertificate(rand.Reader, template, parent, &key.PublicKey, signer)
		require.NoError(t, err)
		cert, err := x509.ParseCertificate(der)
		require.NoError(t, err)
		return cert, key
	}
	ca, caKey := sign(&x509.Certificate{Subject: pkix.Name{CommonName: "clients"}, IsCA: true, BasicConstraintsValid: true}, nil, nil)
	leaf, key := sign(&x509.Certificate{Subject: pkix.Name{CommonName: "worker"}, ExtKeyUsage: uses}, ca, caKey)
	return tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key}, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Raw})
}

// With --tls-client-ca nobody gets as far as a request without a certificate of the right kind, from the right issuer.
func TestClientCertificates(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	pool := certify(t, dir, "server")
	good, issuer := issue(t, x509.ExtKeyUsageClientAuth)
	stranger, next := issue(t, x509.ExtKeyUsageClientAuth)
	forServers, _ := issue(t, x509.ExtKeyUsageServerAuth)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "clients.pem"), issuer, 0o600))
	args := []string{"--store", "memory", "--tls-cert", "cert.pem", "--tls-key", "key.pem", "--tls-client-ca", "clients.pem"}
	p := launch{dir: dir, args: args}.start(t)
	list := func(shown ...tls.Certificate) error {
		c := newClient(t, p.url)
		c.transport.TLSClientConfig = &tls.Config{RootCAs: pool, Certificates: shown, ClientSessionCache: tls.NewLRUClientSessionCache(1)}
		_, err := c.try(t.Context(), "GET", "/locks", nil)
		return err
	}
	require.NoError(t, list(good))
	for name, err := range map[string]error{"none": list(), "a stranger's": list(stranger), "a server's": list(forServers)} {
		require.Error(t, err, name)
	}
	_, port, err := net.SplitHostPort(strings.TrimPrefix(p.url, "https://"))
	require.NoError(t, err)
	out := launch{dir: dir, args: append([]string{"healthcheck", "--port", port}, args...)}.finish(t)
	require.Equal(t, 0, out.code, out.stderr)

	replace(t, filepath.Join(dir, "clients.pem"), next)
	require.NoError(t, list(stranger), "the new issuer counts from the next connection on")
	require.Error(t, list(good))
	replace(t, filepath.Join(dir, "clients.pem"), []byte("half written"))
	p.signal(syscall.SIGHUP)
	p.logged("cannot be used yet")
	require.NoError(t, list(stranger))

	require.NoError(t, os.WriteFile(filepath.Join(dir, "empty.pem"), nil, 0o600))
	for want, more := range map[string][]string{
		"there is no certificate in it": {"--tls-cert", "cert.pem", "--tls-key", "key.pem", "--tls-client-ca", "empty.pem"},
		"no such file":                  {"--tls-cert", "cert.pem", "--tls-key", "key.pem", "--tls-client-ca", "absent.pem"},
		"all three, or none":            {"--tls-client-ca", "clients.pem"},
	} {
		out := launch{dir: dir, env: []string{"LOCKSERVER_SECRET=" + secret}, args: append(more, "--port", "0")}.finish(t)
		require.Equal(t, 2, out.code)
		require.Contains(t, out.stderr, want)
	}
}

// A secret in a file is changed while the server runs, by the file or by a signal, and a bad one is not taken up.
func TestSecretsInFilesAreReadAgain(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	const first, second = "first-of-the-secrets-1", "second-of-the-secrets-2"
	write := func(name, content string) {
		// Moved into place, as tools do it: no reader sees half of it.
		require.NoError(t, os.WriteFile(filepath.Join(dir, "new"), []byte(content), 0o600))
		require.NoError(t, os.Rename(filepath.Join(dir, "new"), filepath.Join(dir, name)))
	}
	write("secret", first+"\n")
	p := launch{dir: dir, env: []string{"LOCKSERVER_SECRET="}, args: []string{"--store", "memory", "--secret-file", "secret", "--secret-previous-file", "previous", "--max-wrong-secrets", "0"}}.start(t)
	status := func(with string) int {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/locks", nil)
		require.NoError(t, err)
		req.Header.Set("X-LOCKSERVER-SECRET", with)
		resp, err := http.DefaultClient.Do(req)
		require.NoError(t, err)
		require.NoError(t, resp.Body.Close())
		return resp.StatusCode
	}
	becomes := func(with string, want int) {
		t.Helper()
		require.Eventually(t, func() bool { return status(with) == want }, patience, 10*time.Millisecond)
	}
	require.Equal(t, 200, status(first))
	require.Equal(t, 401, status(second))
	write("previous", first)
	write("secret", second)
	becomes(second, 200)
	becomes(first, 200)
	write("secret", "\n")
	p.signal(syscall.SIGHUP)
	p.logged("the old one stays")
	require.Equal(t, 200, status(second))
	write("secret", second)
	require.NoError(t, os.Remove(filepath.Join(dir, "previous")))
	p.signal(syscall.SIGHUP)
	becomes(first, 401)
	require.Equal(t, 200, status(second))
	for _, s := range []string{first, second} {
		require.NotContains(t, p.stderr.String(), s)
	}
	p.signal(syscall.SIGTERM)
	require.Equal(t, 0, p.exitCode())
}
