package e2e

import (
	"context"
	"fmt"
	"net"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"go.uber.org/goleak"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/servertest"
)

// noGoroutineIsLeft returns a check that those which were begun since then have ended. On a busy machine an end takes longer than goleak's
// half a second.
func noGoroutineIsLeft(t *testing.T) func() {
	t.Helper()
	before := goleak.IgnoreCurrent()
	return func() {
		t.Helper()
		start := time.Now()
		err := goleak.Find(before)
		for err != nil && time.Since(start) < soon {
			err = goleak.Find(before)
		}
		if err != nil {
			t.Error(err)
		}
	}
}

// Whatever was done with a client, and however it went: once it is closed, no goroutine is left. (Not parallel: it counts them all.)
func TestNoGoroutineIsLeft(t *testing.T) {
	defer noGoroutineIsLeft(t)()
	client, err := lockserver.New(lockserver.WithAddr(shared.server.Addr()), lockserver.WithSecret(servertest.Secret))
	require.NoError(t, err)
	name, ctx := servertest.UniqueName(), within(t, soon)

	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			own, cancel := context.WithTimeout(ctx, time.Duration(i)*3*time.Millisecond)
			defer cancel()
			_ = client.WithLock(own, name, func(ctx context.Context) error { // some get in, some give up
				time.Sleep(5 * time.Millisecond)
				return nil
			})
		})
	}
	group.Wait()
	renewed, err := client.Acquire(ctx, name, lockserver.Expire(1500*time.Millisecond), lockserver.Renewed())
	require.NoError(t, err)
	expiry := renewed.Expiry()
	eventually(t, "a renewal", func() bool { return renewed.Expiry().After(expiry.Add(100 * time.Millisecond)) })
	_, err = client.Acquire(ctx, name+"-kept")
	require.NoError(t, err)
	_, err = client.Acquire(ctx, name+"-leased", lockserver.Expire(time.Hour))
	require.NoError(t, err)
	_, err = client.List(ctx, lockserver.ListOptions{})
	require.NoError(t, err)

	waiting, failed := make(chan struct{}), make(chan error)
	go func() {
		close(waiting)
		_, err := client.Acquire(context.Background(), name+"-kept")
		failed <- err
	}()
	<-waiting
	ended, cancel := context.WithCancel(ctx)
	cancel()
	_, err = client.Acquire(ended, name)
	require.ErrorIs(t, err, context.Canceled)
	require.NoError(t, client.Close())
	require.ErrorIs(t, <-failed, lockserver.ErrConnectionFailed)
}

// Nor where the server does not answer, or is not there.
func TestNoGoroutineIsLeftWithoutAServer(t *testing.T) {
	server, err := servertest.Start(shared.binary, t.TempDir(), "--store", "memory")
	require.NoError(t, err)
	t.Cleanup(server.Kill)
	defer noGoroutineIsLeft(t)()
	bounds := quick
	bounds.Cleanup = 300 * time.Millisecond
	client := newClient(t, server.Addr(), bounds)
	lock, err := client.Acquire(within(t, soon), "r", lockserver.Expire(300*time.Millisecond), lockserver.Renewed())
	require.NoError(t, err)
	require.NoError(t, server.Freeze())
	_, err = client.Acquire(within(t, 50*time.Millisecond), "r")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	<-lock.Done()
	server.Kill()
	_, err = client.Acquire(within(t, 50*time.Millisecond), "r")
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NoError(t, client.Close())
}

// Nor where the connection does not even come about: the server's queue of new connections is full.
func TestNoGoroutineIsLeftBehindADial(t *testing.T) {
	addr := unacceptingListener(t)
	defer noGoroutineIsLeft(t)()
	bounds := quick
	bounds.Cleanup, bounds.Grace = 200*time.Millisecond, 10*time.Millisecond
	client := newClient(t, addr, bounds)
	_, err := client.Acquire(within(t, 100*time.Millisecond), "r")
	require.ErrorIs(t, err, lockserver.ErrLockTimeout)
	start := time.Now()
	require.NoError(t, client.Close())
	require.Less(t, time.Since(start), 4*time.Second, "it waits for no dial")
}

// A connection that does not come about is given up after its bound, and that is not the caller's deadline.
func TestConnectIsBounded(t *testing.T) {
	t.Parallel()
	addr := unacceptingListener(t)
	bounds := quick
	bounds.Connect, bounds.Silence, bounds.Cleanup = 100*time.Millisecond, 3*time.Second, 50*time.Millisecond
	bounds.BackoffFirst, bounds.BackoffMost = time.Hour, time.Hour // two attempts and no third
	_, err := newClient(t, addr, bounds).Acquire(context.Background(), "r")
	require.ErrorIs(t, err, lockserver.ErrConnectionFailed)
	require.ErrorContains(t, err, "i/o timeout", "it ended by the bound on connecting")
	require.NotErrorIs(t, err, context.DeadlineExceeded)
}

// unacceptingListener returns an address at which the system answers no further attempt to connect.
func unacceptingListener(t *testing.T) string {
	t.Helper()
	fd, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM, 0)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, syscall.Close(fd)) })
	require.NoError(t, syscall.Bind(fd, &syscall.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	require.NoError(t, syscall.Listen(fd, 0))
	name, err := syscall.Getsockname(fd)
	require.NoError(t, err)
	addr := fmt.Sprintf("127.0.0.1:%d", name.(*syscall.SockaddrInet4).Port)
	const enough = 3 // in turn: one alone may be a pause of this machine
	for unanswered, tries := 0, 0; tries < 100; tries++ {
		connection, err := net.DialTimeout("tcp", addr, 200*time.Millisecond)
		if err != nil {
			if unanswered++; unanswered == enough {
				return addr
			}
			continue
		}
		unanswered = 0
		t.Cleanup(func() { _ = connection.Close() })
	}
	t.Fatal("the system goes on accepting connections")
	return ""
}
