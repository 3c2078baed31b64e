package config_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/config"
)

func loadEtcd(t *testing.T, dir string, env map[string]string, args ...string) (*config.Options, error) {
	t.Helper()
	return config.Load(config.Source{
		Args: args, Dir: dir, NeedsSecret: true,
		LookupEnv: func(name string) (string, bool) {
			if name == "LOCKSERVER_SECRET" {
				return "correct-horse-battery", true
			}
			v, found := env[name]
			return v, found
		},
	})
}

func TestEtcd(t *testing.T) {
	for store, want := range map[string]config.Etcd{
		"etcd:http://a:2379":                        {Endpoints: []string{"http://a:2379"}, Prefix: "/lockserver"},
		"etcd:http://a:2379/":                       {Endpoints: []string{"http://a:2379"}, Prefix: "/lockserver"},
		"etcd:http://a:2379,http://b:2379/x/y":      {Endpoints: []string{"http://a:2379", "http://b:2379"}, Prefix: "/x/y"},
		"etcd:https://a:2379,https://[::1]:2379/x/": {Endpoints: []string{"https://a:2379", "https://[::1]:2379"}, Prefix: "/x"},
	} {
		o, err := loadEtcd(t, t.TempDir(), nil, "--store", store)
		require.NoError(t, err, store)
		want.ElectionTTL = 5 * time.Second
		require.Equal(t, want, o.Etcd, store)
		require.Equal(t, store, o.Store.String())
	}
}

func TestEtcdThatIsRefused(t *testing.T) {
	for _, store := range []string{
		"etcd:", "etcd:a:2379", "etcd:ftp://a", "etcd:http://", "etcd:http://a,", "etcd:http://a,https://b", "etcd:http://a/x,http://b/x",
		"etcd:http://user:password@a", "etcd:http://a?x=y", "etcd:http://a#x",
	} {
		_, err := loadEtcd(t, t.TempDir(), nil, "--store", store)
		require.ErrorContains(t, err, "--store", store)
		require.ErrorContains(t, err, "allowed: ", store)
	}
	for name, test := range map[string]struct {
		env  map[string]string
		args []string
		want string
	}{
		"advertise":         {nil, []string{"--advertise", "here:8080"}, "--advertise"},
		"ttl":               {nil, []string{"--election-ttl", "1"}, "--election-ttl"},
		"user alone":        {nil, []string{"--etcd-user", "me"}, "--etcd-user"},
		"password alone":    {map[string]string{"LOCKSERVER_ETCD_PASSWORD": "pass-word"}, nil, "--etcd-user"},
		"two passwords":     {map[string]string{"LOCKSERVER_ETCD_PASSWORD": "pass-word"}, []string{"--etcd-password-file", "x"}, "LOCKSERVER_ETCD_PASSWORD"},
		"no password file":  {nil, []string{"--etcd-user", "me", "--etcd-password-file", "x"}, "--etcd-password-file"},
		"CA without https":  {nil, []string{"--etcd-ca", "x"}, "--etcd-ca"},
		"key alone":         {nil, []string{"--etcd-key", "x"}, "--etcd-cert"},
		"CA that is absent": {nil, []string{"--store", "etcd:https://a", "--etcd-ca", "x"}, "--etcd-ca"},
	} {
		_, err := loadEtcd(t, t.TempDir(), test.env, append([]string{"--store", "etcd:http://a"}, test.args...)...)
		require.ErrorContains(t, err, test.want, name)
		require.ErrorContains(t, err, "allowed: ", name)
		require.NotContains(t, err.Error(), "pass-word", name)
	}
}

func TestEtcdPasswordFromAFile(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "p"), []byte("pass-word\n"), 0o600))
	o, err := loadEtcd(t, dir, nil, "--store", "etcd:http://a", "--etcd-user", "me", "--etcd-password-file", "p")
	require.NoError(t, err)
	require.Equal(t, "pass-word", o.Etcd.Password.Reveal())
}
