// Package etcdtest runs a real etcd for tests.
package etcdtest

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// patience is how long etcd may take to start: much more than it does on a busy machine.
const patience = 60 * time.Second

// binary is etcd's path: that of ETCD_BIN, or of one that is built once for the run.
var binary = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("ETCD_BIN"); path != "" {
		return path, nil
	}
	_, here, _, _ := runtime.Caller(0)
	dir, err := os.MkdirTemp("", "etcd-")
	if err != nil {
		return "", err
	}
	built = dir
	path := filepath.Join(dir, "etcd")
	build := exec.Command("go", "build", "-o", path, ".")
	build.Dir, build.Env = filepath.Join(filepath.Dir(here), "etcd"), append(os.Environ(), "GOWORK=off")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build etcd: %w\n%s", err, out)
	}
	return path, nil
})

var built string

// Main runs the tests of a package, and removes what was built for them.
func Main(m *testing.M) {
	code := m.Run()
	if built != "" {
		_ = os.RemoveAll(built)
	}
	os.Exit(code)
}

// Member is a running member of an etcd cluster.
type Member struct {
	URL string // for clients

	peer    string
	name    string
	process *os.Process
	log     bytes.Buffer // valid when exited is closed
	exited  chan struct{}
}

// Start starts a cluster of that size, with these flags, and waits until it works. It ends with the test.
func Start(tb testing.TB, size int, flags ...string) []*Member {
	tb.Helper()
	return repeat(tb, size, "http", &http.Client{}, flags)
}

// StartEncrypted starts one member to which clients speak TLS, with these flags, and waits until that client finds it works. It ends
// with the test.
func StartEncrypted(tb testing.TB, client *http.Client, flags ...string) []*Member {
	tb.Helper()
	return repeat(tb, 1, "https", client, flags)
}

func repeat(tb testing.TB, size int, scheme string, client *http.Client, flags []string) []*Member {
	tb.Helper()
	path, err := binary()
	require.NoError(tb, err)
	// Another process may take a port first.
	for range 5 {
		if members := start(tb, path, size, scheme, client, flags); members != nil {
			return members
		}
	}
	require.Fail(tb, "etcd does not start")
	return nil
}

func start(tb testing.TB, path string, size int, scheme string, client *http.Client, flags []string) []*Member {
	tb.Helper()
	var members []*Member
	var cluster []string
	for i := range size {
		m := &Member{name: fmt.Sprintf("m%d", i), URL: scheme + freeHost(tb), peer: "http" + freeHost(tb), exited: make(chan struct{})}
		members = append(members, m)
		cluster = append(cluster, m.name+"="+m.peer)
	}
	for _, m := range members {
		cmd := exec.Command(path, append([]string{
			"--name", m.name, "--data-dir", tb.TempDir(), "--log-level", "warn",
			"--listen-client-urls", m.URL, "--advertise-client-urls", m.URL,
			"--listen-peer-urls", m.peer, "--initial-advertise-peer-urls", m.peer, "--initial-cluster", strings.Join(cluster, ","),
		}, flags...)...)
		cmd.Env = []string{} // it would take settings from there
		cmd.Stderr = &m.log
		require.NoError(tb, cmd.Start())
		m.process = cmd.Process
		go func() {
			_ = cmd.Wait()
			close(m.exited)
		}()
		tb.Cleanup(func() {
			m.Kill()
			if tb.Failed() {
				tb.Logf("log of etcd %s:\n%s", m.name, &m.log)
			}
		})
	}
	for _, m := range members {
		if !m.healthy(tb, client) {
			for _, m := range members {
				m.Kill()
			}
			return nil
		}
	}
	return members
}

// healthy waits until the member works, or returns false if it has ended.
func (m *Member) healthy(tb testing.TB, client *http.Client) bool {
	tb.Helper()
	for giveUp := time.Now().Add(patience); time.Now().Before(giveUp); {
		select {
		case <-m.exited:
			tb.Logf("etcd %s has ended:\n%s", m.name, &m.log)
			return false
		case <-time.After(10 * time.Millisecond):
		}
		resp, err := client.Get(m.URL + "/health") //nolint:noctx // in a loop with an end
		if err != nil {
			continue
		}
		_ = resp.Body.Close()
		if resp.StatusCode == http.StatusOK {
			return true
		}
	}
	require.Fail(tb, "etcd is not healthy in time")
	return false
}

// freeHost picks a port that nobody listens on, below those that systems give to clients. What it returns is a URL without a scheme.
func freeHost(tb testing.TB) string {
	tb.Helper()
	for {
		address := fmt.Sprintf("127.0.0.1:%d", 15_000+rand.IntN(17_000)) //nolint:gosec // no secret
		if l, err := net.Listen("tcp", address); err == nil {
			require.NoError(tb, l.Close())
			return "://" + address
		}
	}
}

// Kill ends the member as a power cut would.
func (m *Member) Kill() {
	_ = m.process.Kill() // it may have ended
	<-m.exited
}

// PID is the process's.
func (m *Member) PID() int { return m.process.Pid }

// Signal sends the member a signal.
func (m *Member) Signal(s os.Signal) error { return m.process.Signal(s) }

// URLs returns those of all members, separated by commas.
func URLs(members []*Member) string {
	var urls []string
	for _, m := range members {
		urls = append(urls, m.URL)
	}
	return strings.Join(urls, ",")
}
