package e2e

import (
	"fmt"
	"net"
	"syscall"
	"testing"
	"time"

	"github.com/gobwas/ws/wsutil"
	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/etcdtest"
)

// held waits until the leader has granted the lock to the owner.
func (c *client) held(t *testing.T, resource, owner string) (h holder) {
	t.Helper()
	require.Eventually(t, func() bool {
		holders := c.show(t, resource).Holders
		if len(holders) == 1 && holders[0].Owner == owner {
			h = holders[0]
			return true
		}
		return false
	}, patience, time.Millisecond, "%s holds %s", owner, resource)
	return h
}

// behind is a lock that somebody waits for by way of a server that stands by, and then another one.
type behind struct {
	*cluster
	leader *client
	next   <-chan answer
}

// onItsWay has a lock granted to the client "gone" while the stand-by is paused, so that the answer gets no farther.
func onItsWay(t *testing.T, c *cluster, resource string, wait func()) behind {
	t.Helper()
	b := behind{cluster: c, leader: c.client(0)}
	require.Equal(t, 200, b.leader.acquire(t, fields{"resource": resource, "owner": "before"}).status)
	wait()
	b.leader.parked(t, resource, 1)
	b.next = b.leader.later(t, fields{"resource": resource, "owner": "next", "wait": 60})
	b.leader.parked(t, resource, 2)
	c.servers[1].pause()
	require.Equal(t, "released", b.leader.release(t, fields{"resource": resource, "owner": "before"}).Outcome)
	b.leader.held(t, resource, "gone")
	return b
}

// by sends an acquire over a bare connection to the stand-by.
func (c *cluster) by(f string) net.Conn {
	conn := dial(c.t, c.servers[1].addr)
	_, err := fmt.Fprintf(conn, "POST /acquire HTTP/1.1\r\nHost: x\r\nX-LOCKSERVER-SECRET: %s\r\nContent-Length: %d\r\n\r\n%s", secret, len(f), f)
	require.NoError(c.t, err)
	return conn
}

func reset(t *testing.T, conn net.Conn) {
	t.Helper()
	require.NoError(t, conn.(*net.TCPConn).SetLinger(0))
	require.NoError(t, conn.Close())
}

// The leader has handed its answer to the stand-by, which finds nobody to hand it to.
func TestGrantWithoutItsClientBehindAStandBy(t *testing.T) {
	t.Parallel()
	c := startCluster(t, etcdtest.Start(t, 1, "--unsafe-no-fsync"), 2, "--election-ttl", "10")
	for i := range 5 {
		resource := fmt.Sprintf("r%d", i)
		var conn net.Conn
		b := onItsWay(t, c, resource, func() {
			conn = c.by(fmt.Sprintf(`{"resource":%q,"owner":"gone","wait":60}`, resource))
		})
		reset(t, conn)
		c.servers[1].signal(syscall.SIGCONT)
		require.Equal(t, "next", (<-b.next).Owner)
		b.leader.held(t, resource, "next")
	}
}

// With an id the grant is kept for who comes back with it, and then goes on. What the client of a session had before is its own.
func TestGrantOfACutSessionBehindAStandBy(t *testing.T) {
	t.Parallel()
	c := startCluster(t, etcdtest.Start(t, 1, "--unsafe-no-fsync"), 2, "--election-ttl", "10")
	session := c.servers[1].session()
	for i := range 20 {
		had, err := session.ask("acquire", fields{"resource": fmt.Sprintf("had%d", i), "owner": "gone", "id": "1"})
		require.NoError(t, err)
		require.Equal(t, 200, had.Status)
	}
	waits := func(resource string) func() {
		return func() {
			require.NoError(t, session.write(session.request("acquire", fields{"resource": resource, "owner": "gone", "id": "1", "wait": 60})))
		}
	}
	back := onItsWay(t, c, "back", waits("back"))
	c.servers[1].signal(syscall.SIGCONT)
	took, err := session.read()
	require.NoError(t, err)
	require.Equal(t, 200, took[0].Status)
	lost := onItsWay(t, c, "lost", waits("lost"))
	reset(t, session.Conn)
	began := time.Now()
	c.servers[1].signal(syscall.SIGCONT)
	require.Equal(t, "next", (<-lost.next).Owner)
	require.Greater(t, time.Since(began), 9*time.Second, "its place was kept")
	for i := range 20 {
		back.leader.held(t, fmt.Sprintf("had%d", i), "gone")
	}
	back.leader.held(t, "back", "gone")
	require.Equal(t, "released", back.leader.release(t, fields{"resource": "back", "owner": "gone", "id": "1"}).Outcome)
	require.Equal(t, "next", (<-back.next).Owner)
}

// Nobody knows what a server that was killed had handed on. Who has an id asks again elsewhere; else the lease ends it.
func TestKilledStandByKeepsNoLock(t *testing.T) {
	t.Parallel()
	c := startCluster(t, etcdtest.Start(t, 1, "--unsafe-no-fsync"), 2, "--election-ttl", "10")
	leader := c.client(0)
	require.Equal(t, 200, leader.acquire(t, fields{"resource": "parked", "owner": "before"}).status)
	c.by(`{"resource":"parked","owner":"gone","wait":60}`)
	session := c.servers[1].session()
	require.NoError(t, session.write(session.request("acquire", fields{"resource": "parked", "owner": "gone", "id": "1", "wait": 60})))
	leader.parked(t, "parked", 2)
	require.Equal(t, 200, leader.acquire(t, fields{"resource": "id", "owner": "before"}).status)
	require.NoError(t, session.write(session.request("acquire", fields{"resource": "id", "owner": "gone", "id": "1", "wait": 60})))
	leader.parked(t, "id", 1)
	b := onItsWay(t, c, "lease", func() { c.by(`{"resource":"lease","owner":"gone","wait":60,"expire":1}`) })
	require.Equal(t, "released", leader.release(t, fields{"resource": "id", "owner": "before"}).Outcome)
	granted := leader.held(t, "id", "gone")
	c.servers[1].kill()

	leader.parked(t, "parked", 0)
	require.Equal(t, "released", leader.release(t, fields{"resource": "parked", "owner": "before"}).Outcome)
	require.Equal(t, 404, leader.show(t, "parked").status)
	require.Equal(t, granted.Token, leader.acquire(t, fields{"resource": "id", "owner": "gone", "id": "1"}).Token)
	require.Equal(t, "next", (<-b.next).Owner)
}

// A session that came by a stand-by which shuts down is told so, and closed in order.
func TestStandByThatStopsTellsItsSessions(t *testing.T) {
	c := startCluster(t, etcdtest.Start(t, 1, "--unsafe-no-fsync"), 2)
	require.Equal(t, 200, c.client(0).acquire(t, fields{"resource": "r", "owner": "a"}).status)
	session := c.servers[1].session()
	require.NoError(t, session.write(session.request("acquire", fields{"resource": "r", "owner": "b", "id": "1", "wait": 60})))
	c.client(0).parked(t, "r", 1)
	c.servers[1].signal(syscall.SIGTERM)
	text, err := wsutil.ReadServerText(session)
	require.NoError(t, err)
	require.JSONEq(t, `{"event":"draining"}`, string(text))
	_, err = wsutil.ReadServerText(session)
	closed := wsutil.ClosedError{}
	require.ErrorAs(t, err, &closed)
	require.EqualValues(t, 1001, closed.Code)
	require.Zero(t, c.servers[1].exitCode())
	c.client(0).parked(t, "r", 0)
}
