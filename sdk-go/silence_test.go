package lockserver_test

import (
	"context"
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// A server that is silent is given up after the bound, if the caller has none; what it may have granted is cancelled.
func TestSilenceIsAConnectionFailure(t *testing.T) {
	t.Parallel()
	bounds := quick
	bounds.Silence, bounds.SilenceQueued, bounds.Hop, bounds.Answer = time.Second, 2*time.Second, 10*time.Millisecond, 50*time.Millisecond
	for name, steps := range map[string][]step{
		"silent":   {hang()},
		"refusing": {answer(502, "")},
		"queued":   {answer(202, `{"position":1}`), hang()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newMemory().on("/acquire", steps...).on("/release", freed())
			start := time.Now()
			_, err := server.client(t, bounds).Acquire(context.Background(), "r")
			took := time.Since(start)
			requireCode(t, err, lockserver.ErrConnectionFailed)
			require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller had no deadline")
			want := bounds.Silence
			if name == "queued" {
				want = bounds.SilenceQueued
			}
			if name == "silent" {
				require.ErrorContains(t, err, "no answer from")
			}
			require.GreaterOrEqual(t, took, want)
			require.Greater(t, len(server.seen("/acquire")), 1)
			require.Len(t, server.seen("/release"), 1)
			require.Equal(t, server.seen("/acquire")[0].Body["id"], server.seen("/release")[0].Body["id"])
		})
	}
}

// Where the caller has a limit, it counts, and no other.
func TestTheCallersDeadlineReplacesTheBoundOnSilence(t *testing.T) {
	t.Parallel()
	bounds := quick
	bounds.Silence = 10 * time.Millisecond
	server := newMemory().on("/acquire", answer(502, "")).on("/release", freed())
	_, err := server.client(t, bounds).Acquire(within(t, time.Second), "r")
	requireCode(t, err, lockserver.ErrLockTimeout)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, lockserver.ErrConnectionFailed)
	require.ErrorContains(t, err, "502")
}

func TestNoServerAtAll(t *testing.T) {
	addr := refusingAddr(t)
	bounds := quick
	bounds.Silence, bounds.Cleanup = 300*time.Millisecond, 100*time.Millisecond
	client := newClient(t, lockserver.WithAddr(addr), withBounds(bounds))

	_, err := client.Acquire(context.Background(), "r")
	requireCode(t, err, lockserver.ErrConnectionFailed)
	var network *net.OpError
	require.ErrorAs(t, err, &network)
	_, err = client.List(context.Background(), lockserver.ListOptions{})
	requireCode(t, err, lockserver.ErrConnectionFailed)
	require.ErrorAs(t, err, &network)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	_, err = client.List(within(t, 20*time.Millisecond), lockserver.ListOptions{})
	require.ErrorIs(t, err, context.DeadlineExceeded)
	requireCode(t, client.Release(context.Background(), "r"), lockserver.ErrConnectionFailed)
}

// refusingAddr returns an address at which nothing listens, nor will while the test runs: its port is taken.
func refusingAddr(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Close(fd)) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	name, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	return fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
}
