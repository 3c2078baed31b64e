package e2e

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestWaiterIsGrantedOnRelease(t *testing.T) {
	t.Parallel()
	s := launch{}.start(t)
	c := newClient(t, s.url)
	first := c.acquire(t, fields{"resource": "r", "owner": "a"})
	require.Equal(t, 200, first.status)
	second := c.later(t, fields{"resource": "r", "owner": "b", "wait": 30})
	c.parked(t, "r", 1)
	const waits = 2 * time.Millisecond // answers tell whole milliseconds
	waited := time.After(waits)
	third := c.later(t, fields{"resource": "r", "owner": "c", "wait": 30})
	c.parked(t, "r", 2)
	<-waited

	require.Equal(t, 200, c.release(t, fields{"resource": "r", "owner": "a", "token": first.Token}).status)
	got := <-second
	require.Equal(t, 200, got.status)
	require.Equal(t, "b", got.Owner)
	require.Greater(t, got.Token, first.Token)
	require.GreaterOrEqual(t, got.Waited, waits.Seconds())
	require.Empty(t, third, "one at a time")

	require.Equal(t, 200, c.release(t, fields{"resource": "r", "owner": "b"}).status)
	require.Greater(t, (<-third).Token, got.Token)
}

func TestWaiterIsGrantedWhenTheLeaseEnds(t *testing.T) {
	t.Parallel()
	s := launch{}.start(t)
	c := newClient(t, s.url)
	sent := time.Now()
	first := c.acquire(t, fields{"resource": "r", "owner": "a", "expire": 0.5})
	require.Equal(t, 200, first.status)
	got := c.acquire(t, fields{"resource": "r", "owner": "b", "wait": 30})
	require.Equal(t, 200, got.status)
	require.GreaterOrEqual(t, time.Since(sent), 500*time.Millisecond, "granted before the lease was over")
	require.Greater(t, got.Token, first.Token)
	stale := c.release(t, fields{"resource": "r", "owner": "a", "token": first.Token})
	require.Equal(t, 409, stale.status)
	require.Equal(t, "expired", stale.Reason)
	require.Equal(t, "b", c.show(t, "r").Holders[0].Owner)
}

func TestWaitRunsOut(t *testing.T) {
	t.Parallel()
	s := launch{args: []string{"--store", "memory", "--max-wait", "200ms"}}.start(t)
	c := newClient(t, s.url)
	require.Equal(t, 200, c.acquire(t, fields{"resource": "r", "owner": "a"}).status)
	got := c.acquire(t, fields{"resource": "r", "owner": "b", "wait": 3600})
	require.Equal(t, 409, got.status)
	require.Equal(t, "locked", got.Code)
	got = c.acquire(t, fields{"resource": "r", "owner": "b", "wait": 3600, "id": "i"})
	require.Equal(t, 202, got.status)
	require.Equal(t, 1, got.Position)
}

// Clients that vanish while they wait, or just when they are granted, leave nothing that outlives a lease.
func TestClientsThatVanishLeaveNothing(t *testing.T) {
	t.Parallel()
	s := launch{}.start(t)
	c := newClient(t, s.url)
	for i := range 60 {
		held := c.acquire(t, fields{"resource": "r", "owner": "holder", "wait": 30})
		require.Equal(t, 200, held.status)
		conn := dial(t, s.addr)
		body := fmt.Sprintf(`{"resource":"r","owner":"vanishes %d","wait":30,"expire":0.05}`, i)
		_, err := fmt.Fprintf(conn, "POST /acquire HTTP/1.1\r\nHost: x\r\nX-LOCKSERVER-SECRET: %s\r\nContent-Length: %d\r\n\r\n%s", secret, len(body), body)
		require.NoError(t, err)
		c.parked(t, "r", 1)
		if i%2 == 0 {
			require.NoError(t, conn.(*net.TCPConn).SetLinger(0)) // a reset instead of an orderly end
		}
		released := make(chan answer, 1)
		go func() {
			a, _ := c.try(t.Context(), "POST", "/release", fields{"resource": "r", "owner": "holder", "token": held.Token})
			released <- a
		}()
		if i%3 == 0 {
			require.Equal(t, 200, (<-released).status)
		}
		require.NoError(t, conn.Close())
		if i%3 != 0 {
			require.Equal(t, 200, (<-released).status)
		}
		next := c.acquire(t, fields{"resource": "r", "owner": "next", "wait": 30})
		require.Equal(t, 200, next.status)
		require.Equal(t, 200, c.release(t, fields{"resource": "r", "owner": "next", "token": next.Token}).status)
	}
	require.Equal(t, 404, c.show(t, "r").status)
}
