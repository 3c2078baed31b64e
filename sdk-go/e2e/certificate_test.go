package e2e

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/servertest"
	"github.com/lockserver/lockserver/sdk-go/internal/settings"
)

// certify writes a certificate for this machine and its key, which is its own authority and ends at that time, and returns their files.
func certify(t *testing.T, dir, name string, ends time.Time) (cert, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: name}, NotBefore: ends.Add(-48 * time.Hour), NotAfter: ends,
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	require.NoError(t, err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	require.NoError(t, err)
	cert, key = filepath.Join(dir, name+".pem"), filepath.Join(dir, name+"-key.pem")
	require.NoError(t, os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	return cert, key
}

// A server that wants a certificate says so at once, whatever is asked of it, and one that is renewed in its file is shown from the next
// connection on.
func TestClientCertificate(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	later := time.Now().Add(time.Hour)
	cert, key := certify(t, dir, "server", later)
	right, rightKey := certify(t, dir, "right", later)
	stranger, strangerKey := certify(t, dir, "stranger", later)
	expired, expiredKey := certify(t, dir, "expired", time.Now().Add(-time.Hour))
	shown, shownKey := filepath.Join(dir, "shown.pem"), filepath.Join(dir, "shown-key.pem")
	tick := time.Now().Add(-time.Hour)
	show := func(cert, key string) {
		tick = tick.Add(time.Second)
		for from, to := range map[string]string{cert: shown, key: shownKey} {
			content, err := os.ReadFile(from)
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(to, content, 0o600))
			require.NoError(t, os.Chtimes(to, tick, tick))
		}
	}
	authorities, err := os.ReadFile(right)
	require.NoError(t, err)
	old, err := os.ReadFile(expired)
	require.NoError(t, err)
	ca := filepath.Join(dir, "clients.pem")
	require.NoError(t, os.WriteFile(ca, append(authorities, old...), 0o600))
	server, err := servertest.Start(shared.binary, dir, "--store", "memory", "--tls-cert", cert, "--tls-key", key, "--tls-client-ca", ca)
	require.NoError(t, err)
	t.Cleanup(server.Kill)
	pool := x509.NewCertPool()
	content, err := os.ReadFile(cert)
	require.NoError(t, err)
	require.True(t, pool.AppendCertsFromPEM(content))

	for _, transport := range []lockserver.Transport{lockserver.HTTP, lockserver.Session} {
		client := func(options ...lockserver.Option) *lockserver.Client {
			return newClient(t, server.URL, settings.Bounds{}, append(options, lockserver.WithTransport(transport), lockserver.WithRootCAs(pool))...)
		}
		works := func(c *lockserver.Client) {
			t.Helper()
			require.NoError(t, c.WithLock(within(t, soon), servertest.UniqueName(), func(context.Context) error { return nil }))
		}
		refused := func(c *lockserver.Client) {
			t.Helper()
			began := time.Now()
			_, err := c.Acquire(context.Background(), "refused")
			require.ErrorIs(t, err, lockserver.ErrConnectionFailed)
			require.ErrorContains(t, err, "does not accept this client's certificate, or wants one")
			require.Less(t, time.Since(began), soon, "not after all of the patience")
		}
		refused(client())
		pair, err := tls.LoadX509KeyPair(right, rightKey)
		require.NoError(t, err)
		works(client(lockserver.WithClientCertificate(pair)))
		refused(client(lockserver.WithClientCertificateFiles(expired, expiredKey)))

		show(stranger, strangerKey)
		c := client(lockserver.WithClientCertificateFiles(shown, shownKey))
		refused(c)
		show(right, rightKey)
		works(c)
		show(right, strangerKey) // the one is there, the other not yet
		works(client(lockserver.WithClientCertificateFiles(right, rightKey)))
		works(c)
	}
}

func TestBadClientCertificateFiles(t *testing.T) {
	dir := t.TempDir()
	cert, key := certify(t, dir, "one", time.Now().Add(time.Hour))
	_, other := certify(t, dir, "other", time.Now().Add(time.Hour))
	for _, c := range []struct{ cert, key, field string }{
		{cert, "", "LOCKSERVER_CLIENT_KEY"}, {"", key, "LOCKSERVER_CLIENT_CERT"}, {cert, other, "LOCKSERVER_CLIENT_CERT"}, {cert, filepath.Join(dir, "absent"), "LOCKSERVER_CLIENT_CERT"},
	} {
		for _, environment := range []bool{false, true} {
			options := []lockserver.Option{lockserver.WithSecret("0123456789abcdef"), lockserver.WithoutDotEnv()}
			if environment {
				t.Setenv("LOCKSERVER_CLIENT_CERT", c.cert)
				t.Setenv("LOCKSERVER_CLIENT_KEY", c.key)
			} else {
				t.Setenv("LOCKSERVER_CLIENT_CERT", "")
				t.Setenv("LOCKSERVER_CLIENT_KEY", "")
				options = append(options, lockserver.WithClientCertificateFiles(c.cert, c.key))
			}
			_, err := lockserver.New(options...)
			require.ErrorIs(t, err, lockserver.ErrConfigInvalid)
			var failure *lockserver.Error
			require.ErrorAs(t, err, &failure)
			require.Equal(t, c.field, failure.Field)
			require.ErrorContains(t, err, "allowed: ")
		}
	}
}
