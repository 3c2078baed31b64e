package e2e

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/etcdtest"
)

// cluster is several servers with one etcd.
type cluster struct {
	t       *testing.T
	prefix  string
	servers []*process
}

var prefixes atomic.Int64

// startCluster starts servers one after the other, so that the first one leads.
func startCluster(t *testing.T, members []*etcdtest.Member, servers int, args ...string) *cluster {
	t.Helper()
	c := &cluster{t: t, prefix: fmt.Sprintf("/cluster-%d", prefixes.Add(1))}
	for range servers {
		c.servers = append(c.servers, launch{
			args: append([]string{"--store", "etcd:" + etcdtest.URLs(members) + c.prefix, "--election-ttl", "2"}, args...),
		}.start(t))
	}
	require.Equal(t, "leader", c.role(0))
	return c
}

func (c *cluster) client(i int) *client { return newClient(c.t, c.servers[i].url) }

func (c *cluster) role(i int) string {
	c.t.Helper()
	a, err := c.client(i).try(c.t.Context(), http.MethodGet, "/healthz", nil)
	require.NoError(c.t, err)
	_, role, _ := strings.Cut(string(a.text), `"role":"`)
	return strings.TrimRight(role, "\"}\n")
}

// leads waits until a server leads.
func (c *cluster) leads(i int) {
	c.t.Helper()
	require.Eventually(c.t, func() bool { return c.role(i) == "leader" }, patience, 5*time.Millisecond, "server %d leads", i)
}

// insist asks again while there is no leader, as clients do.
func insist(t *testing.T, c *client, path string, f fields) (a answer) {
	t.Helper()
	require.Eventually(t, func() bool {
		var err error
		a, err = c.try(t.Context(), "POST", path, f)
		return err == nil && a.status != http.StatusServiceUnavailable
	}, patience, 5*time.Millisecond, "an answer to %s %v", path, f)
	return a
}

func TestAnyServerOfAClusterAnswers(t *testing.T) {
	c := startCluster(t, etcdtest.Start(t, 1, "--unsafe-no-fsync"), 2)
	leader, standby := c.client(0), c.client(1)
	require.Equal(t, "standby", c.role(1))
	for _, one := range []*client{leader, standby} {
		require.Equal(t, 200, one.do(t, "GET", "/readyz", nil).status)
	}

	granted := standby.acquire(t, fields{"resource": "r", "owner": "a", "expire": 60})
	require.Equal(t, 200, granted.status, "%s", granted.text)
	require.Equal(t, "locked", leader.acquire(t, fields{"resource": "r", "owner": "b"}).Code)
	require.Equal(t, "locked", standby.acquire(t, fields{"resource": "r", "owner": "b"}).Code)
	require.Equal(t, "invalid_request", standby.acquire(t, fields{"resource": "r"}).Code)
	require.Equal(t, granted.Token, standby.show(t, "r").Holders[0].Token)

	// A client that goes away from a stand-by is gone for the leader too.
	ctx, cancel := context.WithCancel(t.Context())
	gone := make(chan error, 1)
	go func() {
		_, err := standby.try(ctx, "POST", "/acquire", fields{"resource": "r", "owner": "gone", "wait": 60})
		gone <- err
	}()
	leader.parked(t, "r", 1)
	cancel()
	require.ErrorIs(t, <-gone, context.Canceled)
	leader.parked(t, "r", 0)

	waiting := standby.later(t, fields{"resource": "r", "owner": "b", "wait": 60})
	leader.parked(t, "r", 1)
	require.Equal(t, "released", standby.release(t, fields{"resource": "r", "owner": "a"}).Outcome)
	require.Equal(t, "b", (<-waiting).Owner)

	session := c.servers[1].session()
	a, err := session.ask("acquire", fields{"resource": "s", "owner": "c", "id": "1", "expire": 60})
	require.NoError(t, err)
	require.NotZero(t, a.Token, "%+v", a)
	require.Equal(t, "locked", leader.acquire(t, fields{"resource": "s", "owner": "d"}).Code)

	unknown := &client{url: standby.url, transport: standby.transport}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, unknown.url+"/locks", nil)
	require.NoError(t, err)
	resp, err := unknown.transport.RoundTrip(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusUnauthorized, resp.StatusCode)
}

// A request is passed on once at most, be it that two servers think the other leads.
func TestForwardedRequestsAreNotForwardedAgain(t *testing.T) {
	c := startCluster(t, etcdtest.Start(t, 1, "--unsafe-no-fsync"), 2)
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, c.servers[1].url+"/locks", nil)
	require.NoError(t, err)
	req.Header.Set("X-LOCKSERVER-SECRET", secret)
	req.Header.Set("Lockserver-Forwarded", "1")
	resp, err := c.client(1).transport.RoundTrip(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, http.StatusServiceUnavailable, resp.StatusCode)
	require.Equal(t, "1", resp.Header.Get("Retry-After"))
}

func TestKilledLeaderIsReplaced(t *testing.T) {
	c := startCluster(t, etcdtest.Start(t, 3), 3)
	client := c.client(2)
	granted := client.acquire(t, fields{"resource": "r", "owner": "a", "id": "1", "expire": 60})
	require.Equal(t, 200, granted.status, "%s", granted.text)
	session := c.servers[1].session()
	a, err := session.ask("acquire", fields{"resource": "s", "owner": "a", "id": "1", "expire": 60})
	require.NoError(t, err)
	require.NotZero(t, a.Token, "%+v", a)
	c.servers[0].kill()
	renewed := insist(t, client, "/renew", fields{"resource": "r", "owner": "a"})
	require.Equal(t, 200, renewed.status, "%s", renewed.text)
	require.Equal(t, granted.Token, renewed.Token)
	require.Equal(t, granted.Token, insist(t, client, "/acquire", fields{"resource": "r", "owner": "a", "id": "1", "expire": 60}).Token)
	require.Equal(t, "locked", insist(t, client, "/acquire", fields{"resource": "s", "owner": "b"}).Code)
	require.Greater(t, insist(t, client, "/acquire", fields{"resource": "t", "owner": "b"}).Token, granted.Token)
	_, err = session.ask("renew", fields{"resource": "s", "owner": "a"})
	require.Error(t, err, "the session has ended with the leader")
}

// A leader that was paused for longer than its lease answers nothing that is wrong, although it does not know of that yet when it reads
// what came meanwhile.
func TestPausedLeaderAnswersNothingWrong(t *testing.T) {
	c := startCluster(t, etcdtest.Start(t, 1, "--unsafe-no-fsync"), 2)
	for _, resource := range []string{"renewed", "shown", "again", "refused"} {
		require.Equal(t, 200, c.client(0).acquire(t, fields{"resource": resource, "owner": "a", "id": "1", "expire": 60}).status)
	}
	old := c.client(0)
	old.do(t, "GET", "/healthz", nil)
	c.servers[0].pause()
	c.leads(1)
	next := c.client(1)
	for _, resource := range []string{"renewed", "shown", "again", "refused"} {
		require.Equal(t, 200, next.do(t, "DELETE", "/lock?resource="+resource, nil).status)
		if resource != "refused" {
			require.Equal(t, 200, next.acquire(t, fields{"resource": resource, "owner": "b", "expire": 60}).status)
		}
	}
	type asked struct {
		method, path string
		body         any
		right        func(a answer) bool // if it is answered by whoever leads
	}
	holds := func(owner string) func(answer) bool {
		return func(a answer) bool { return a.status == 200 && len(a.Holders) == 1 && a.Holders[0].Owner == owner }
	}
	code := func(code string) func(answer) bool { return func(a answer) bool { return a.Code == code } }
	questions := map[string]asked{
		"a renewal":           {"POST", "/renew", fields{"resource": "renewed", "owner": "a"}, code("not_held")},
		"a look":              {"GET", "/lock?resource=shown", nil, holds("b")},
		"an id asked again":   {"POST", "/acquire", fields{"resource": "again", "owner": "a", "id": "1", "expire": 60}, code("locked")},
		"a refusal":           {"POST", "/acquire", fields{"resource": "refused", "owner": "c"}, func(a answer) bool { return a.status == 200 }},
		"a grant":             {"POST", "/acquire", fields{"resource": "shown", "owner": "a", "id": "2"}, code("locked")},
		"a release":           {"POST", "/release", fields{"resource": "shown", "owner": "a", "id": "1"}, code("not_held")},
		"a release by nobody": {"POST", "/release", fields{"resource": "shown", "owner": "x"}, code("not_held")},
	}
	type answered struct {
		name string
		answer
		err error
	}
	answers := make(chan answered, len(questions))
	for name, q := range questions {
		go func() {
			a, err := old.try(t.Context(), q.method, q.path, q.body)
			answers <- answered{name, a, err}
		}()
	}
	require.Eventually(t, func() bool { return queued(t, c.servers[0].addr) >= len(questions) }, patience, 5*time.Millisecond, "all have been sent")
	c.servers[0].signal(syscall.SIGCONT)
	for range questions {
		a := <-answers
		require.NoError(t, a.err, a.name)
		if a.status != http.StatusServiceUnavailable {
			require.True(t, questions[a.name].right(a.answer), "%s: %s", a.name, a.text)
		}
	}
	require.Eventually(t, func() bool { return c.role(0) == "standby" }, patience, 5*time.Millisecond)
	require.Equal(t, "b", insist(t, old, "/renew", fields{"resource": "shown", "owner": "b"}).Owner)
}

func TestOrderlyStopResigns(t *testing.T) {
	c := startCluster(t, etcdtest.Start(t, 1, "--unsafe-no-fsync"), 2, "--election-ttl", "60")
	leader, standby := c.client(0), c.client(1)
	granted := standby.acquire(t, fields{"resource": "r", "owner": "a", "expire": 60})
	require.Equal(t, 200, granted.status, "%s", granted.text)
	waiting := leader.later(t, fields{"resource": "r", "owner": "b", "wait": 60})
	leader.parked(t, "r", 1)
	c.servers[0].signal(syscall.SIGTERM)
	require.Equal(t, "draining", (<-waiting).Code)
	// Long before the lease that it resigned from would have ended.
	renewed := insist(t, standby, "/renew", fields{"resource": "r", "owner": "a"})
	require.Equal(t, granted.Token, renewed.Token)
	require.Zero(t, c.servers[0].exitCode())
	c.leads(1)
	c.servers[1].signal(syscall.SIGTERM)
	require.Zero(t, c.servers[1].exitCode())
}

func TestStandByStopsInOrder(t *testing.T) {
	c := startCluster(t, etcdtest.Start(t, 1, "--unsafe-no-fsync"), 2)
	require.Equal(t, 200, c.client(0).acquire(t, fields{"resource": "r", "owner": "a"}).status)
	waiting := c.client(1).later(t, fields{"resource": "r", "owner": "b", "id": "1", "wait": 60})
	c.client(0).parked(t, "r", 1)
	c.servers[1].signal(syscall.SIGTERM)
	require.Equal(t, "draining", (<-waiting).Code, "the leader knows that it was not granted")
	require.Zero(t, c.servers[1].exitCode())
	c.client(0).parked(t, "r", 0)
}

func TestMetricsOfACluster(t *testing.T) {
	c := startCluster(t, etcdtest.Start(t, 1, "--unsafe-no-fsync"), 2)
	leader, standby := c.servers[0], c.servers[1]
	require.Equal(t, 200, c.client(1).acquire(t, fields{"resource": "r", "owner": "a"}).status)
	require.Equal(t, "locked", c.client(1).acquire(t, fields{"resource": "r", "owner": "b"}).Code)
	m := scrape(t, leader)
	require.EqualValues(t, 1, m["lockserver_leader"])
	require.EqualValues(t, 1, m["lockserver_terms_total"])
	require.EqualValues(t, 1, m["lockserver_commit_seconds"])
	require.Positive(t, m["lockserver_confirm_seconds"], "the refusal was confirmed")
	require.EqualValues(t, 1, m["lockserver_locks"])
	// A request is counted behind its answer.
	require.Eventually(t, func() bool {
		m = scrape(t, standby)
		return m["lockserver_requests_total{code=forwarded,operation=acquire}"] == 2
	}, patience, 5*time.Millisecond)
	require.Zero(t, m["lockserver_leader"])
	require.Zero(t, m["lockserver_terms_total"])
	require.NotContains(t, m, "lockserver_locks", "a stand-by has none of its own")

	leader.signal(syscall.SIGTERM)
	c.leads(1)
	m = scrape(t, standby)
	require.EqualValues(t, 1, m["lockserver_leader"])
	require.EqualValues(t, 1, m["lockserver_terms_total"])
	require.EqualValues(t, 1, m["lockserver_locks"])
}
