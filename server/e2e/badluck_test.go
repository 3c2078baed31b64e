package e2e

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func serveOn(store string, more ...string) launch {
	return launch{
		args: append([]string{"--store", store}, more...),
		env:  []string{"LOCKSERVER_SECRET=" + secret, "LOCKSERVER_PORT=0"},
	}
}

func TestPortInUse(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer taken.Close()
	port := fmt.Sprint(taken.Addr().(*net.TCPAddr).Port)
	dir := filepath.Join(t.TempDir(), "data")
	got := serveOn("disk:"+dir, "--port", port).finish(t)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "--port "+port)
	require.Contains(t, got.stderr, "address already in use")
	require.Empty(t, got.stdout)
	require.NoFileExists(t, dir, "the store was touched")
}

func TestDataDirectoryThatCannotBeWritten(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "a-file")
	require.NoError(t, os.WriteFile(file, []byte("mine"), 0o600))
	dirs := []string{file, file + "/below"}
	if runtime.GOOS == "linux" {
		dirs = append(dirs, "/proc/lockserver-data") // not even root can write here
	}
	for _, dir := range dirs {
		got := serveOn("disk:" + dir).finish(t)
		require.Equal(t, 1, got.code, dir)
		require.Contains(t, got.stderr, "--store disk:"+dir)
		require.Empty(t, got.stdout, "it was never ready")
	}
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	require.Equal(t, "mine", string(content))
}

func TestSecondProcessOnTheSameDirectory(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	first := launch{args: []string{"--store", "disk:" + dir}}.start(t)
	c := newClient(t, first.url)
	require.Equal(t, 200, c.acquire(t, fields{"resource": "r", "owner": "o"}).status)
	got := serveOn("disk:" + dir).finish(t)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "in use by another process")
	require.Equal(t, 200, c.release(t, fields{"resource": "r", "owner": "o"}).status, "the first one goes on")
}

func TestDamagedStoreIsRefused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	s := launch{args: []string{"--store", "disk:" + dir}}.start(t)
	require.Equal(t, 200, newClient(t, s.url).acquire(t, fields{"resource": "r", "owner": "o"}).status)
	s.kill()
	require.NoError(t, os.WriteFile(filepath.Join(dir, "FORMAT"), []byte("lockserver-store 999\n"), 0o600))
	got := serveOn("disk:" + dir).finish(t)
	require.Equal(t, 1, got.code)
	require.Contains(t, got.stderr, "newer format")
}

// A write that the disk refuses for good, here as files may not grow: the client that did not get its lock is told that the store failed,
// the process exits 1, and once the disk works every answered grant is there.
func TestDiskThatFails(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "data")
	s := launch{args: []string{"--store", "disk:" + dir}, wrap: []string{"sh", "-c", `ulimit -f 400; exec "$0" "$@"`}}.start(t)
	c := newClient(t, s.url)
	require.Equal(t, 200, c.acquire(t, fields{"resource": "r", "owner": "o"}).status)
	waiter := c.later(t, fields{"resource": "r", "owner": "p", "wait": 60})
	c.parked(t, "r", 1)

	const most = 20_000
	note := strings.Repeat("n", 1024)
	tokens := map[string]int64{}
	var refused answer
	for i := range most {
		name := fmt.Sprint("fill ", i)
		got := c.acquire(t, fields{"resource": name, "owner": "o", "note": note})
		if got.status != 200 {
			refused = got
			break
		}
		tokens[name] = got.Token
	}
	require.Equal(t, "store_unavailable", refused.Code, "after %d locks", len(tokens))
	require.Equal(t, 503, refused.status)
	require.NotEmpty(t, refused.header.Get("Retry-After"))
	require.Equal(t, "store_unavailable", (<-waiter).Code)
	require.Equal(t, 1, s.exitCode())
	require.Contains(t, s.stderr.String(), "store failed")
	require.NotContains(t, s.stderr.String(), "goroutine ", "it crashed")
	t.Logf("failed after %d locks", len(tokens))

	began := time.Now()
	s = launch{args: []string{"--store", "disk:" + dir}}.start(t)
	c = newClient(t, s.url)
	for name, token := range tokens {
		got := c.show(t, name)
		require.Equal(t, 200, got.status, "%s was answered, and is gone", name)
		require.Equal(t, token, got.Holders[0].Token)
	}
	require.Equal(t, 200, c.acquire(t, fields{"resource": "new", "owner": "o"}).status)
	t.Logf("looked %v later", time.Since(began))
}
