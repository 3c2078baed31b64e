package e2e

import (
	"fmt"
	"io"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// SIGTERM under load with waiters: they are told, what is in flight is finished, all is kept, and the exit code is 0.
func TestTermUnderLoad(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	s := launch{args: []string{"--store", "disk:" + dir + "/data"}}.start(t)
	c := newClient(t, s.url)
	held := c.acquire(t, fields{"resource": "r", "owner": "o", "expire": 600})
	require.Equal(t, 200, held.status)
	var waiters []<-chan answer
	for i := range 20 {
		f := fields{"resource": "r", "owner": fmt.Sprint("waiter ", i), "wait": 60}
		if i%2 == 0 {
			f["id"] = fmt.Sprint("id ", i)
		}
		waiters = append(waiters, c.later(t, f))
	}
	c.parked(t, "r", len(waiters))
	workers := newWorkers(8, 6)
	ended := make(chan error, 1)
	go func() { ended <- load(t.Context(), workers, newClient(t, s.url)) }()
	probe := newClient(t, s.url)
	require.Eventually(t, func() bool {
		return len(probe.do(t, "GET", "/locks?prefix=w", nil).header) > 0 && probe.show(t, "w0/r0").status == 200
	},
		patience, time.Millisecond, "load")

	s.signal(syscall.SIGTERM)
	for _, w := range waiters {
		got := <-w
		require.Equal(t, 503, got.status)
		require.Equal(t, "draining", got.Code)
		require.NotEmpty(t, got.header.Get("Retry-After"))
	}
	require.Equal(t, 0, s.exitCode())
	require.NoError(t, <-ended)
	require.Contains(t, s.stderr.String(), "shutting down")

	began := time.Now()
	s = launch{args: []string{"--store", "disk:" + dir + "/data"}}.start(t)
	c = newClient(t, s.url)
	check(t, workers, c, began)
	require.Equal(t, held.Token, c.show(t, "r").Holders[0].Token)
}

// stuck starts a server, and a request that will not end: it is shutting down and cannot.
func stuck(t *testing.T, args ...string) *process {
	s := launch{args: append([]string{"--store", "memory", "--header-timeout", "10m"}, args...)}.start(t)
	conn := dial(t, s.addr)
	_, err := fmt.Fprintf(conn, "POST /acquire HTTP/1.1\r\nHost: x\r\nX-LOCKSERVER-SECRET: %s\r\nExpect: 100-continue\r\nContent-Length: 100\r\n\r\n", secret)
	require.NoError(t, err)
	// It is being read once it is asked for the body.
	got := make([]byte, 21)
	_, err = conn.Read(got)
	require.NoError(t, err)
	require.Equal(t, "HTTP/1.1 100 Continue", string(got))
	s.signal(syscall.SIGTERM)
	s.logged("shutting down")
	return s
}

func TestShutdownHasATimeLimit(t *testing.T) {
	t.Parallel()
	s := stuck(t, "--shutdown-timeout", "100ms")
	require.Equal(t, 0, s.exitCode())
	require.Contains(t, s.stderr.String(), "requests cut off")
}

func TestSecondSignalEndsAtOnce(t *testing.T) {
	t.Parallel()
	s := stuck(t, "--shutdown-timeout", "10m")
	select {
	case <-s.exited:
		require.Fail(t, "it did not wait for the request")
	case <-time.After(50 * time.Millisecond):
	}
	s.signal(syscall.SIGTERM)
	require.NotEqual(t, 0, s.exitCode())
}

func TestInterruptIsLikeTerm(t *testing.T) {
	t.Parallel()
	s := launch{}.start(t)
	s.signal(syscall.SIGINT)
	require.Equal(t, 0, s.exitCode())
}

// Connections on which nothing is asked do not hold the shutdown up: neither those that were used, nor those that never were.
func TestIdleConnectionsDoNotHoldTheShutdownUp(t *testing.T) {
	t.Parallel()
	s := launch{args: []string{"--store", "memory", "--shutdown-timeout", "4s"}}.start(t)
	silent := dial(t, s.addr)
	used := newClient(t, s.url)
	require.Equal(t, 200, used.acquire(t, fields{"resource": "r", "owner": "o"}).status)
	s.signal(syscall.SIGTERM)
	require.Equal(t, 0, s.exitCode())
	require.NotContains(t, s.stderr.String(), "cut off")
	_, err := silent.Read(make([]byte, 1))
	require.ErrorIs(t, err, io.EOF)
}
