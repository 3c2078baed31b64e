package e2e

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"

	"github.com/lockserver/lockserver/server/internal/etcdtest"
)

// guardedEtcd is an etcd that speaks TLS alone, asks for certificates, and knows two users: "lockserver" may read and write what
// begins with /allowed/, and "root" all.
type guardedEtcd struct {
	url  string
	dir  string // with cert.pem and key.pem, for both sides
	root *clientv3.Client
}

func startGuardedEtcd(t *testing.T) *guardedEtcd {
	t.Helper()
	dir := t.TempDir()
	pool := certify(t, dir, "etcd")
	cert, key := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	pair, err := tls.LoadX509KeyPair(cert, key)
	require.NoError(t, err)
	encryption := &tls.Config{RootCAs: pool, Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}
	members := etcdtest.StartEncrypted(t, &http.Client{Transport: &http.Transport{TLSClientConfig: encryption}},
		"--unsafe-no-fsync", "--cert-file", cert, "--key-file", key, "--trusted-ca-file", cert, "--client-cert-auth")
	dial := func(user, password string) *clientv3.Client {
		c, err := clientv3.New(clientv3.Config{
			Endpoints: []string{members[0].URL}, TLS: encryption, Username: user, Password: password, Logger: zap.NewNop(), DialTimeout: patience,
		})
		require.NoError(t, err)
		t.Cleanup(func() { require.NoError(t, c.Close()) })
		return c
	}
	c, ctx := dial("", ""), t.Context()
	must := func(_ any, err error) { require.NoError(t, err) }
	must(c.UserAdd(ctx, "root", "root-password"))
	must(c.RoleAdd(ctx, "root"))
	must(c.UserGrantRole(ctx, "root", "root"))
	must(c.UserAdd(ctx, "lockserver", "pass-word"))
	must(c.RoleAdd(ctx, "locks"))
	must(c.RoleGrantPermission(ctx, "locks", "/allowed/", clientv3.GetPrefixRangeEnd("/allowed/"), clientv3.PermissionType(clientv3.PermReadWrite)))
	must(c.UserGrantRole(ctx, "lockserver", "locks"))
	must(c.AuthEnable(ctx))
	return &guardedEtcd{members[0].URL, dir, dial("root", "root-password")}
}

func (g *guardedEtcd) launch(prefix string, env ...string) launch {
	return launch{dir: g.dir, env: append([]string{
		"LOCKSERVER_SECRET=" + secret, "LOCKSERVER_PORT=0", "LOCKSERVER_STORE=etcd:" + g.url + prefix, "LOCKSERVER_ELECTION_TTL=2",
		"LOCKSERVER_ETCD_USER=lockserver", "LOCKSERVER_ETCD_PASSWORD=pass-word",
		"LOCKSERVER_ETCD_CA=cert.pem", "LOCKSERVER_ETCD_CERT=cert.pem", "LOCKSERVER_ETCD_KEY=key.pem",
	}, env...)}
}

func TestEtcdWithCertificatesAndPasswords(t *testing.T) {
	t.Parallel()
	g := startGuardedEtcd(t)
	require.NoError(t, os.WriteFile(filepath.Join(g.dir, "password"), []byte("pass-word\n"), 0o600))
	first := g.launch("/allowed/x").start(t)
	second := g.launch("/allowed/x", "LOCKSERVER_ETCD_PASSWORD=", "LOCKSERVER_ETCD_PASSWORD_FILE=password").start(t)
	granted := newClient(t, second.url).acquire(t, fields{"resource": "r", "owner": "a", "expire": 60})
	require.Equal(t, 200, granted.status, "%s", granted.text)

	// Each change of etcd's users makes the tokens that it gave out void.
	_, err := g.root.UserAdd(t.Context(), "another", "another-password")
	require.NoError(t, err)
	renewed := newClient(t, first.url).do(t, "POST", "/renew", fields{"resource": "r", "owner": "a"})
	require.Equal(t, 200, renewed.status, "%s", renewed.text)
	first.kill()
	require.Equal(t, granted.Token, insist(t, newClient(t, second.url), "/renew", fields{"resource": "r", "owner": "a"}).Token)
}

func TestEtcdThatRefusesOurSettings(t *testing.T) {
	t.Parallel()
	g := startGuardedEtcd(t)
	stranger := t.TempDir()
	certify(t, stranger, "stranger")
	for name, test := range map[string]struct {
		prefix string
		env    []string
		want   []string
	}{
		"wrong password": {"/allowed/x", []string{"LOCKSERVER_ETCD_PASSWORD=wrong"}, []string{"--etcd-user", "LOCKSERVER_ETCD_PASSWORD", `\"lockserver\"`, "allowed: "}},
		"no user":        {"/allowed/x", []string{"LOCKSERVER_ETCD_USER=", "LOCKSERVER_ETCD_PASSWORD="}, []string{"--etcd-user", "without a password", "allowed: "}},
		"another prefix": {"/forbidden", nil, []string{"--etcd-user", `\"/forbidden/\"`, "allowed: "}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			out := g.launch(test.prefix, test.env...).finish(t)
			require.Equal(t, 1, out.code, out.stderr)
			for _, want := range test.want {
				require.Contains(t, out.stderr, want)
			}
			require.NotContains(t, out.stderr, "pass-word")
		})
	}
	// What may pass is tried again, and logged.
	for name, test := range map[string]struct {
		env  []string
		want string
	}{
		"CA of another":  {[]string{"LOCKSERVER_ETCD_CA=" + filepath.Join(stranger, "cert.pem")}, "x509: certificate signed by unknown authority"},
		"no certificate": {[]string{"LOCKSERVER_ETCD_CERT=", "LOCKSERVER_ETCD_KEY="}, "tls: certificate required"},
		"no TLS":         {[]string{"LOCKSERVER_STORE=etcd:" + strings.Replace(g.url, "https", "http", 1), "LOCKSERVER_ETCD_CA=", "LOCKSERVER_ETCD_CERT=", "LOCKSERVER_ETCD_KEY="}, "its URL has to begin with https"},
		"nobody there":   {[]string{"LOCKSERVER_STORE=etcd:https://127.0.0.1:1"}, "connection refused"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _ := g.launch("/allowed/x", test.env...).run(t)
			go func() { p.end(p.cmd.Wait()) }()
			require.Contains(t, p.logged("trying again"), test.want)
			p.signal(syscall.SIGTERM)
			require.Zero(t, p.exitCode())
		})
	}
}
