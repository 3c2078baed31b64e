package e2e

import (
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestHelpAndVersion(t *testing.T) {
	t.Parallel()
	got := launch{args: []string{"--help"}}.finish(t)
	require.Equal(t, 0, got.code)
	require.Empty(t, got.stderr)
	for _, want := range []string{"--bind", "LOCKSERVER_SECRET", "--max-locks N", "1000000", "healthcheck", "disk:./lockserver-data", "openssl rand"} {
		require.Contains(t, got.stdout, want)
	}
	for line := range strings.Lines(got.stdout) {
		require.Less(t, len(line), 122, line)
	}
	for _, args := range [][]string{{"version"}, {"--version"}} {
		got = launch{args: args}.finish(t)
		require.Equal(t, 0, got.code)
		require.Regexp(t, `^lockserver \S+\n$`, got.stdout)
	}
	got = launch{args: []string{"serv"}}.finish(t)
	require.Equal(t, 2, got.code)
	require.Contains(t, got.stderr, "serv")
	require.Contains(t, got.stderr, "healthcheck")
}

func TestRefusesToStartWithoutASecret(t *testing.T) {
	t.Parallel()
	got := launch{}.finish(t)
	require.Equal(t, 2, got.code)
	require.Contains(t, got.stderr, "LOCKSERVER_SECRET")
	require.Contains(t, got.stderr, "openssl rand")
	require.Empty(t, got.stdout)
}

func TestSettingsFromDotenvAndSecretFile(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "secret"), []byte(secret+"\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, ".env"), []byte("LOCKSERVER_SECRET_FILE=secret\nLOCKSERVER_STORE=memory\nLOCKSERVER_LOG_FORMAT=json\n"), 0o600))
	// Empty counts as absent.
	s := launch{dir: dir, env: []string{"LOCKSERVER_SECRET="}}.start(t)
	require.Equal(t, 200, newClient(t, s.url).acquire(t, fields{"resource": "r", "owner": "o"}).status)
	require.NotContains(t, s.logged(`"store":"memory"`), secret)
	require.NoDirExists(t, filepath.Join(dir, "lockserver-data"))
}

// By default locks are kept on disk, in the working directory.
func TestDefaultStore(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := launch{dir: dir}.start(t)
	require.Equal(t, 200, newClient(t, s.url).acquire(t, fields{"resource": "r", "owner": "o"}).status)
	s.kill()
	require.DirExists(t, filepath.Join(dir, "lockserver-data"))
	s = launch{dir: dir}.start(t)
	require.Equal(t, 200, newClient(t, s.url).show(t, "r").status)
}

func TestSecretIsNeverLogged(t *testing.T) {
	t.Parallel()
	s := launch{args: []string{"--store", "memory", "--log-level", "debug"}}.start(t)
	c := newClient(t, s.url)
	require.Equal(t, 200, c.acquire(t, fields{"resource": "r", "owner": "o", "expire": 0.001}).status)
	require.Equal(t, 200, c.acquire(t, fields{"resource": "r", "owner": "o", "wait": 5}).status)
	s.signal(os.Interrupt)
	require.Equal(t, 0, s.exitCode())
	require.Contains(t, s.stderr.String(), "msg=request")
	require.NotContains(t, s.stderr.String(), secret)
}

// refusingPort is one on which nobody listens, nor can, since it is taken.
func refusingPort(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Close(fd)) })
	syscall.CloseOnExec(fd)
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	addr, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	return strconv.Itoa(addr.(*syscall.SockaddrInet4).Port)
}

func TestHealthcheck(t *testing.T) {
	t.Parallel()
	s := launch{args: []string{"--store", "memory"}}.start(t)
	_, port, err := net.SplitHostPort(s.addr)
	require.NoError(t, err)
	got := launch{args: []string{"healthcheck"}, env: []string{"LOCKSERVER_PORT=" + port, "LOCKSERVER_BIND_IP=0.0.0.0"}}.finish(t)
	require.Equal(t, 0, got.code, got.stderr)
	port = refusingPort(t)
	got = launch{args: []string{"healthcheck", "--port", port}}.finish(t)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, port)
	got = launch{args: []string{"healthcheck", "--port", "0"}}.finish(t)
	require.Equal(t, 2, got.code)

	// A server that is not ready.
	loading := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/readyz" {
			http.Error(w, "loading", http.StatusServiceUnavailable)
		}
	}))
	defer loading.Close()
	_, port, err = net.SplitHostPort(loading.Listener.Addr().String())
	require.NoError(t, err)
	got = launch{args: []string{"healthcheck", "--port", port}}.finish(t)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "loading")

	// A server that does not answer.
	mute, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer mute.Close()
	_, port, err = net.SplitHostPort(mute.Addr().String())
	require.NoError(t, err)
	got = launch{args: []string{"healthcheck", "--port", port}}.finish(t)
	require.Equal(t, 1, got.code)
}
