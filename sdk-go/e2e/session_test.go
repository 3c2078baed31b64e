package e2e

import (
	"context"
	"fmt"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/servertest"
)

var (
	overSession = lockserver.WithTransport(lockserver.Session)
	overHTTP    = lockserver.WithTransport(lockserver.HTTP) // what these tests do to requests, they do not to sessions
)

// A client that is closed with many waits on its session withdraws all of them, and leaves no goroutine.
func TestCloseWithManyWaitsOnASession(t *testing.T) {
	direct, name := newClient(t, shared.server.Addr(), quick), servertest.UniqueName()
	_, err := direct.Acquire(within(t, soon), name)
	require.NoError(t, err)
	defer noGoroutineIsLeft(t)()
	client := newClient(t, shared.server.Addr(), quick, overSession)
	const n = 500
	var group sync.WaitGroup
	for range n {
		group.Go(func() {
			if _, err := client.Acquire(context.Background(), name); err == nil {
				t.Error("it is not free")
			}
		})
	}
	eventually(t, "the waiters", func() bool { return waiters(t, direct, name) == n })
	require.NoError(t, client.Close())
	group.Wait()
	require.Zero(t, waiters(t, direct, name))
	require.NoError(t, direct.Release(within(t, soon), name))
}

// Nor does one whose session never came about, as the server is silent.
func TestCloseBehindASilentUpgrade(t *testing.T) {
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	defer silent.Close()
	check := noGoroutineIsLeft(t)
	bounds := quick
	bounds.Cleanup, bounds.Grace, bounds.Answer = 200*time.Millisecond, 10*time.Millisecond, time.Hour
	client := newClient(t, "http://"+silent.Addr().String(), bounds, overSession)
	_, err = client.Acquire(within(t, 100*time.Millisecond), "r")
	require.ErrorIs(t, err, lockserver.ErrLockTimeout)
	require.NoError(t, client.Close())
	check()
}

// What a closed client still has to release gets through, and its session does not stay.
func TestReleaseAfterCloseOverASession(t *testing.T) {
	name := servertest.UniqueName()
	defer noGoroutineIsLeft(t)()
	client := newClient(t, shared.server.Addr(), quick, overSession)
	lock, err := client.Acquire(within(t, soon), name)
	require.NoError(t, err)
	require.NoError(t, client.Close())
	released, err := lock.Release(within(t, soon))
	require.NoError(t, err)
	require.True(t, released)
}

// A server that goes away and comes back, again and again, has all the waits of an automatic client again, and each is granted once.
func TestAutoComesBack(t *testing.T) {
	t.Parallel()
	start := onOneStore(t)
	server := start()
	net := newNetwork(t, server.Addr())
	client := newClient(t, net.addr(), quick, lockserver.WithTransport(lockserver.Auto))
	name, ctx := servertest.UniqueName(), within(t, 3*soon)
	holder, err := client.Acquire(ctx, name)
	require.NoError(t, err)
	const n = 200
	var group sync.WaitGroup
	var inside, turns int // guarded by the lock under test
	for i := range n {
		group.Go(func() {
			lock, err := client.Acquire(ctx, name, lockserver.Note(fmt.Sprint(i)))
			if err != nil {
				t.Error(err)
				return
			}
			if inside++; inside != 1 {
				t.Error("two at once")
			}
			turns++
			inside--
			if released, err := lock.Release(ctx); !released || err != nil {
				t.Error(released, err)
			}
		})
	}
	for range 2 {
		eventually(t, "the waiters", func() bool { return waiters(t, client, name) == n })
		server.Kill()
		server = start()
		net.leadTo(server.Addr())
	}
	eventually(t, "the waiters again", func() bool { return waiters(t, client, name) == n })
	_, err = holder.Release(ctx)
	require.NoError(t, err)
	group.Wait()
	require.Equal(t, n, turns)
	requireFree(t, client, name)
}

// A network that swallows everything from now on: what waits comes back over another session, as soon as there is another way.
func TestASwallowedSession(t *testing.T) {
	t.Parallel()
	net := newNetwork(t, shared.server.Addr())
	bounds := quick
	bounds.Hop, bounds.Answer, bounds.Ping = 300*time.Millisecond, 300*time.Millisecond, 50*time.Millisecond
	client, direct := newClient(t, net.addr(), bounds, overSession), newClient(t, shared.server.Addr(), quick)
	name, ctx := servertest.UniqueName(), within(t, soon)
	holder, err := direct.Acquire(ctx, name)
	require.NoError(t, err)
	const n = 50
	var group sync.WaitGroup
	for range n {
		group.Go(func() {
			lock, err := client.Acquire(ctx, name)
			if err != nil {
				t.Error(err)
				return
			}
			if released, err := lock.Release(ctx); !released || err != nil {
				t.Error(released, err)
			}
		})
	}
	eventually(t, "the waiters", func() bool { return waiters(t, direct, name) == n })
	cured := net.poisonFor(time.Second, "timeout", "downstream", map[string]any{"timeout": 0})
	_, err = holder.Release(ctx) // the grant goes into the hole
	require.NoError(t, err)
	<-cured
	group.Wait()
	requireFree(t, direct, name)
}
