package lockctl

import (
	"crypto/x509"
	"encoding/pem"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A server that wants a certificate of its clients gets it from lockctl.
func TestClientCertificate(t *testing.T) {
	donor := httptest.NewUnstartedServer(nil)
	donor.StartTLS()
	defer donor.Close()
	pair := donor.TLS.Certificates[0]
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	require.NoError(t, err)
	dir := t.TempDir()
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	for name, block := range map[string]*pem.Block{cert: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]}, key: {Type: "PRIVATE KEY", Bytes: der}} {
		require.NoError(t, os.WriteFile(name, pem.EncodeToMemory(block), 0o600))
	}
	w := newWorld(t, "--store", "memory", "--tls-cert", cert, "--tls-key", key, "--tls-client-ca", cert).with("SSL_CERT_FILE=" + cert)
	j := w.with("LOCKSERVER_CLIENT_CERT="+cert, "LOCKSERVER_CLIENT_KEY="+key).run("run", "r", "--", "true")
	require.Zero(t, j.code, j.stderr)
	j = w.run("ls")
	require.Equal(t, 123, j.code)
	require.Contains(t, j.stderr.String(), "does not accept this client's certificate, or wants one: tls: certificate required")
	require.NotContains(t, j.stderr.String(), "gave up")
	j = w.with("LOCKSERVER_CLIENT_CERT="+cert, "LOCKSERVER_CLIENT_KEY=absent.pem").run("ls")
	require.NotZero(t, j.code)
	require.Contains(t, j.stderr.String(), `LOCKSERVER_CLIENT_KEY "absent.pem" cannot be used`)
}
