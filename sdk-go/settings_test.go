package lockserver_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/settings"
)

// inEmptyDir moves the test to a directory of its own, with a .env if there is one to write, and without settings in the environment.
func inEmptyDir(t *testing.T, dotEnv string) {
	t.Helper()
	dir := t.TempDir()
	t.Chdir(dir)
	for _, name := range []string{"LOCKSERVER_ADDR", "LOCKSERVER_OWNER", "LOCKSERVER_SECRET"} {
		t.Setenv(name, "")
	}
	if dotEnv != "" {
		require.NoError(t, os.WriteFile(filepath.Join(dir, ".env"), []byte(dotEnv), 0o600))
	}
}

// Argument over environment over .env, each setting by itself.
func TestSettingsPrecedence(t *testing.T) {
	const dotEnv = "LOCKSERVER_ADDR=file.test:1\nLOCKSERVER_OWNER=file-owner\nLOCKSERVER_SECRET='file secret #1'\n"
	for name, c := range map[string]struct {
		dotEnv      string
		environment map[string]string
		options     []lockserver.Option
		addr, owner string
	}{
		"arguments": {
			dotEnv,
			map[string]string{"LOCKSERVER_ADDR": "env.test:2", "LOCKSERVER_OWNER": "env-owner", "LOCKSERVER_SECRET": "env"},
			[]lockserver.Option{lockserver.WithAddr("arg.test:3"), lockserver.WithOwner("arg-owner"), lockserver.WithSecret("arg")},
			"http://arg.test:3", "arg-owner",
		},
		"environment": {
			dotEnv,
			map[string]string{"LOCKSERVER_ADDR": "env.test:2", "LOCKSERVER_OWNER": "env-owner", "LOCKSERVER_SECRET": "env"},
			nil,
			"http://env.test:2", "env-owner",
		},
		"file": {dotEnv, nil, nil, "http://file.test:1", "file-owner"},
		"mixed": {
			dotEnv,
			map[string]string{"LOCKSERVER_OWNER": "env-owner"},
			[]lockserver.Option{lockserver.WithAddr("arg.test:3")},
			"http://arg.test:3", "env-owner",
		},
		"default address": {"LOCKSERVER_OWNER=o\nLOCKSERVER_SECRET=s\n", nil, nil, "http://127.0.0.1:8080", "o"},
	} {
		t.Run(name, func(t *testing.T) {
			inEmptyDir(t, c.dotEnv)
			for name, value := range c.environment {
				t.Setenv(name, value)
			}
			client := newClient(t, c.options...)
			require.Equal(t, c.addr, client.Addr())
			require.Equal(t, c.owner, client.Owner())
		})
	}
}

func TestSecretPrecedence(t *testing.T) {
	for name, c := range map[string]struct {
		environment string
		options     []lockserver.Option
		want        string
	}{
		"argument":    {"env", []lockserver.Option{lockserver.WithSecret("arg")}, "arg"},
		"environment": {"env", nil, "env"},
		"file":        {"", nil, "file $ecret #1"},
	} {
		t.Run(name, func(t *testing.T) {
			server := newScripted(t).on("/acquire", grant(1, "null"))
			inEmptyDir(t, "LOCKSERVER_SECRET='file $ecret #1'\n")
			t.Setenv("LOCKSERVER_SECRET", c.environment)
			client := server.client(t, settings.Bounds{}, c.options...)
			_, err := client.Acquire(within(t, soon), "r")
			require.NoError(t, err)
			require.Equal(t, c.want, server.seen("/acquire")[0].Secret)
			_, inEnvironment := os.LookupEnv("LOCKSERVER_SECRET")
			require.True(t, inEnvironment)
			require.Equal(t, c.environment, os.Getenv("LOCKSERVER_SECRET"), "reading .env must not change the environment")
		})
	}
}

// What the server reads as its secret, its clients have to read the same.
func TestNothingInDotEnvIsExpanded(t *testing.T) {
	for file, want := range map[string]string{
		"LOCKSERVER_SECRET=pa$HOME-${HOME}$$\n":            "pa$HOME-${HOME}$$",
		"LOCKSERVER_SECRET=\"pa$HOME\"\n":                  "pa$HOME",
		"OTHER=x\nLOCKSERVER_SECRET=${OTHER}y\n":           "${OTHER}y",
		"\ufeffLOCKSERVER_SECRET=behind-a-mark-of-order\n": "behind-a-mark-of-order",
	} {
		server := newScripted(t).on("/acquire", grant(1, "null"))
		inEmptyDir(t, file)
		client, err := lockserver.New(lockserver.WithAddr(server.URL))
		require.NoError(t, err)
		_, err = client.Acquire(within(t, soon), "r")
		require.NoError(t, err)
		require.Equal(t, want, server.seen("/acquire")[0].Secret)
		require.NoError(t, client.Close())
	}
}

func TestDotEnvCanBeTurnedOff(t *testing.T) {
	inEmptyDir(t, "LOCKSERVER_SECRET=from-file\n")
	_, err := lockserver.New(lockserver.WithoutDotEnv())
	require.Equal(t, "LOCKSERVER_SECRET", requireCode(t, err, lockserver.ErrConfigInvalid).Field)
	newClient(t)
}

func TestBadDotEnvIsAnErrorThatDoesNotQuoteIt(t *testing.T) {
	inEmptyDir(t, "LOCKSERVER_SECRET\x01'hunter2-hunter2\n")
	_, err := lockserver.New()
	require.Equal(t, ".env", requireCode(t, err, lockserver.ErrConfigInvalid).Field)
	require.NotContains(t, err.Error(), "hunter2")

	inEmptyDir(t, "LOCKSERVER_SECRET=hunter2\x00\n")
	_, err = lockserver.New()
	require.Equal(t, ".env", requireCode(t, err, lockserver.ErrConfigInvalid).Field)

	inEmptyDir(t, "")
	require.NoError(t, os.Mkdir(".env", 0o700))
	_, err = lockserver.New()
	require.Equal(t, ".env", requireCode(t, err, lockserver.ErrConfigInvalid).Field)
	newClient(t, lockserver.WithAddr("h"), lockserver.WithOwner("o"), lockserver.WithSecret("s")) // nothing is asked of it
}

func TestAddresses(t *testing.T) {
	for in, want := range map[string]string{
		"host":                      "http://host:8080",
		"host:1":                    "http://host:1",
		"10.1.2.3:65535":            "http://10.1.2.3:65535",
		"[::1]":                     "http://[::1]:8080",
		"[::1]:99":                  "http://[::1]:99",
		"http://host":               "http://host:8080",
		"https://host":              "https://host:8080",
		"https://host:443":          "https://host:443",
		"https://host:443/locks/":   "https://host:443/locks",
		"http://[fe80::1]:81/a/b":   "http://[fe80::1]:81/a/b",
		"http://host/with%20space/": "http://host:8080/with%20space",
		"http://host/a%2Fb/%27'()/": "http://host:8080/a%2Fb/%27'()",
		"HTTP://a_b.c-d.":           "http://a_b.c-d.:8080",
		"a,b:1,https://[::1]/x/":    "http://a:8080,http://b:1,https://[::1]:8080/x",
	} {
		client := newClient(t, lockserver.WithAddr(in), lockserver.WithSecret("s"))
		require.Equal(t, want, client.Addr(), in)
	}
	for _, in := range []string{
		"a,", ",a", "a,,b", "a, b", "a:1,b:x", "http://user:hunter2,x@host", "::1", "host:", "host:0", "host:65536", "host:abc", "host/path", "ftp://host", "http://",
		"http://host?x=1", "http://host#f", "http://user:hunter2@host", "host:-1", " host", "[::1", "host:1:2", ":8080",
		"ho st", "host ", "http://host/a b", "hóst", "http://host/é", "http://host/%zz", "a..b", "[fe80::1%25eth0]:1", "[fe80::1%eth0]", "[1.2.3.4]",
		"[::1]x", "256.1.1.1", "127.1", "1.2.3.0x4", "http://@host", "user:hunter2@host", "a%41", "a\\b", strings.Repeat("x", 64), "host:\n1", "host\n",
	} {
		_, err := lockserver.New(lockserver.WithAddr(in), lockserver.WithSecret("s"))
		require.Error(t, err, in)
		require.Equal(t, "LOCKSERVER_ADDR", requireCode(t, err, lockserver.ErrConfigInvalid).Field, in)
		require.NotContains(t, err.Error(), "hunter2")
	}
}

func TestBadSettings(t *testing.T) {
	for name, c := range map[string]struct {
		field   string
		options []lockserver.Option
	}{
		"secret with a line break": {"LOCKSERVER_SECRET", []lockserver.Option{lockserver.WithSecret("hunter2\n")}},
		"secret not ASCII":         {"LOCKSERVER_SECRET", []lockserver.Option{lockserver.WithSecret("hunter2é")}},
		"owner too long":           {"LOCKSERVER_OWNER", []lockserver.Option{lockserver.WithOwner(strings.Repeat("x", 257))}},
		"owner not UTF-8":          {"LOCKSERVER_OWNER", []lockserver.Option{lockserver.WithOwner("\xff")}},
		"owner with control":       {"LOCKSERVER_OWNER", []lockserver.Option{lockserver.WithOwner("a\tb")}},
		"two places for a certificate": {"WithClientCertificate", []lockserver.Option{
			lockserver.WithHTTPClient(&http.Client{}), lockserver.WithClientCertificate(tls.Certificate{}),
		}},
		"two sources of trust": {"WithRootCAs", []lockserver.Option{
			lockserver.WithHTTPClient(&http.Client{}), lockserver.WithRootCAs(x509.NewCertPool()),
		}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := lockserver.New(append([]lockserver.Option{lockserver.WithSecret("s")}, c.options...)...)
			require.Equal(t, c.field, requireCode(t, err, lockserver.ErrConfigInvalid).Field)
			require.NotContains(t, err.Error(), "hunter2")
		})
	}
}

func TestDefaultOwnerIsNewForEveryClient(t *testing.T) {
	host, err := os.Hostname()
	require.NoError(t, err)
	one, other := newClient(t), newClient(t)
	require.NotEqual(t, one.Owner(), other.Owner())
	require.True(t, strings.HasPrefix(one.Owner(), fmt.Sprintf("%s-%d-", host, os.Getpid())), one.Owner())
}

// The secret shows in no form of the client, its locks or their errors, and in no log.
func TestSecretNeverShows(t *testing.T) {
	const secret = "hunter2-hunter2-hunter2"
	server := newScripted(t).
		on("/acquire", cut(), problem(503, "draining", ""), grant(7, "0.2")).
		on("/renew", problem(401, "unauthorized", "")).
		on("/release", problem(401, "unauthorized", `,"detail":"the secret is wrong"`))
	var log strings.Builder
	logger := slog.New(slog.NewJSONHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	client := server.client(t, settings.Bounds{}, lockserver.WithSecret(secret), lockserver.WithLogger(logger))
	lock, err := client.Acquire(within(t, soon), "r", lockserver.Renewed())
	require.NoError(t, err)
	select {
	case <-lock.Done():
	case <-within(t, soon).Done():
		t.Fatal("the lock was not lost")
	}
	_, err = client.List(within(t, soon), lockserver.ListOptions{})
	require.Error(t, err)
	require.NoError(t, client.Close())

	encoded, jsonErr := json.Marshal(map[string]any{"client": client, "lock": lock, "error": lock.Err()})
	require.NoError(t, jsonErr)
	for _, text := range []string{
		fmt.Sprint(client), fmt.Sprintf("%+v", client), fmt.Sprintf("%#v", client), fmt.Sprintf("%q", client),
		fmt.Sprintf("%+v", struct{ C *lockserver.Client }{client}), fmt.Sprintf("%#v", struct{ c lockserver.Client }{}),
		fmt.Sprint(lock), fmt.Sprintf("%+v", lock), fmt.Sprintf("%#v", lock),
		fmt.Sprint(err), fmt.Sprintf("%+v", err), fmt.Sprintf("%#v", lock.Err()), string(encoded), log.String(),
	} {
		require.NotContains(t, text, "hunter2")
	}
	require.Contains(t, log.String(), "lock lost")
}
