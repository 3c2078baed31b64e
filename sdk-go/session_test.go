package lockserver_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/servertest"
)

// counter is a transport of HTTP that counts requests by path.
type counter struct {
	mu    sync.Mutex
	paths map[string]int
}

func (c *counter) RoundTrip(r *http.Request) (*http.Response, error) {
	c.mu.Lock()
	c.paths[r.URL.Path]++
	c.mu.Unlock()
	return http.DefaultTransport.RoundTrip(r)
}

func (c *counter) seen() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.paths)
}

func countingRequests() (*counter, lockserver.Option) {
	c := &counter{paths: map[string]int{}}
	return c, lockserver.WithHTTPClient(&http.Client{Transport: c})
}

func TestASessionCarriesEverythingButLists(t *testing.T) {
	requests, opt := countingRequests()
	client, name := newClient(t, lockserver.WithTransport(lockserver.Session), opt), servertest.UniqueName()
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			ctx := within(t, soon)
			lock, err := client.Acquire(ctx, fmt.Sprint(name, i%7), lockserver.Expire(time.Minute))
			if err != nil {
				t.Error(err)
				return
			}
			if err := lock.Renew(ctx, 2*time.Minute); err != nil {
				t.Error(err)
			}
			if held, err := lock.Release(ctx); !held || err != nil {
				t.Error(held, err)
			}
		})
	}
	all.Wait()
	requireFree(t, client, name+"0")
	_, err := client.List(within(t, soon), lockserver.ListOptions{Prefix: name})
	require.NoError(t, err)
	require.Equal(t, map[string]int{"/session": 1, "/locks": 1}, requests.seen())
}

func TestALossIsToldAtOnce(t *testing.T) {
	client, name := newClient(t, lockserver.WithTransport(lockserver.Session)), servertest.UniqueName()
	forever, err := client.Acquire(within(t, soon), name)
	require.NoError(t, err)
	_, err = client.ForceRelease(within(t, soon), name, 0)
	require.NoError(t, err)
	select {
	case <-forever.Done(): // without a lease nothing but the server's word can end it
	case <-time.After(soon):
		t.Fatal("not told")
	}
	require.ErrorIs(t, forever.Err(), lockserver.ErrLockLost)
	require.ErrorContains(t, forever.Err(), "evicted")
}

func TestWithoutSessionsThereIsHTTP(t *testing.T) {
	for _, status := range []int{400, 401, 403, 404, 405, 426, 429, 500, 501, 502, 503, 200, 302} {
		server := newScripted(t).on("/session", answer(status, `{"code":"x"}`)).on("/acquire", grant(7, "null")).on("/release", freed())
		client := server.client(t, quick, lockserver.WithTransport(lockserver.Auto))
		for range 3 {
			lock, err := client.Acquire(within(t, soon), "r")
			require.NoError(t, err, status)
			_, err = lock.Release(within(t, soon))
			require.NoError(t, err)
		}
		require.Len(t, server.seen("/session"), 1, "%d: it is not asked for again soon", status)

		if status >= 502 {
			continue // what is retried over HTTP is here too
		}
		only := server.client(t, quick, lockserver.WithTransport(lockserver.Session))
		_, err := only.Acquire(within(t, soon), "r")
		requireCode(t, err, lockserver.ErrConnectionFailed)
		require.ErrorContains(t, err, fmt.Sprintf("answered %d", status))
	}
}

func TestWhatIsNoRefusalOfSessions(t *testing.T) {
	_, err := newClient(t, lockserver.WithTransport(lockserver.Auto), lockserver.WithSecret("wrong")).Acquire(within(t, soon), "r")
	require.ErrorIs(t, err, lockserver.ErrUnauthorized)

	server := newScripted(t).on("/session", answer(503, `{"code":"draining"}`), answer(503, `{"code":"store_unavailable"}`), answer(404, "")).on("/acquire", grant(7, "null")).on("/release", freed())
	_, err = server.client(t, quick, lockserver.WithTransport(lockserver.Auto)).Acquire(within(t, soon), "r")
	require.NoError(t, err)
	require.Len(t, server.seen("/session"), 3, "retried, like any request")

	_, err = newClient(t, lockserver.WithTransport(lockserver.Auto), lockserver.WithAddr(refusingAddr(t))).Acquire(within(t, 300*time.Millisecond), "r")
	requireCode(t, err, lockserver.ErrLockTimeout)
	require.ErrorContains(t, err, "connection refused by ")

	_, err = lockserver.New(lockserver.WithTransport("pigeon"), lockserver.WithSecret("s"))
	requireCode(t, err, lockserver.ErrConfigInvalid)
	require.ErrorContains(t, err, `"pigeon"`)
}

func TestAServerThatIsNoWebSocketIsNotBelieved(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/session" {
			w.WriteHeader(http.StatusTeapot)
			return
		}
		conn, _, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: guess\r\n\r\n")
	}))
	defer server.Close()
	_, err := newClient(t, lockserver.WithTransport(lockserver.Session), lockserver.WithAddr(server.URL)).Acquire(within(t, soon), "r")
	requireCode(t, err, lockserver.ErrConnectionFailed)
	require.ErrorContains(t, err, "does not answer as a WebSocket should")
}

// relay passes connections on to the server, and can cut them.
type relay struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
	made  atomic.Int64
}

func newRelay(t *testing.T, to string) *relay {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	r := &relay{Listener: l}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil {
				_ = in.Close()
				continue
			}
			r.made.Add(1)
			r.mu.Lock()
			r.conns = append(r.conns, in, out)
			r.mu.Unlock()
			for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
				go func() {
					_, _ = io.Copy(way[0], way[1])
					_, _ = way[0].Close(), way[1].Close()
				}()
			}
		}
	}()
	t.Cleanup(func() { _ = l.Close(); r.cut() })
	return r
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		_ = c.Close()
	}
	r.conns = nil
}

func TestWaitsSurviveACutSession(t *testing.T) {
	direct, name := newClient(t), servertest.UniqueName()
	r := newRelay(t, strings.TrimPrefix(direct.Addr(), "http://"))
	client := newClient(t, lockserver.WithTransport(lockserver.Session), lockserver.WithAddr(r.Addr().String()))
	holder, err := direct.Acquire(within(t, soon), name)
	require.NoError(t, err)
	const waiters = 20
	tokens := make(chan int64, waiters)
	var all sync.WaitGroup
	for range waiters {
		all.Go(func() {
			lock, err := client.Acquire(within(t, soon), name)
			if err != nil {
				t.Error(err)
				tokens <- 0
				return
			}
			tokens <- lock.Token()
			if held, err := lock.Release(within(t, soon)); !held || err != nil {
				t.Error(held, err)
			}
		})
	}
	parked := func(want int) {
		require.Eventually(t, func() bool {
			info, err := direct.Show(within(t, soon), name)
			present := 0
			for _, q := range info.Queue {
				if q.Present {
					present++
				}
			}
			return err == nil && len(info.Queue) == waiters && present == want
		}, soon, 5*time.Millisecond)
	}
	parked(waiters)
	for range 3 {
		before := r.made.Load()
		r.cut()
		require.Eventually(t, func() bool { return r.made.Load() > before }, soon, time.Millisecond, "no new session")
		parked(waiters)
	}
	_, err = holder.Release(within(t, soon))
	require.NoError(t, err)
	last := int64(0)
	for range waiters {
		token := <-tokens
		require.Greater(t, token, last, "tokens rise: nobody held it twice")
		last = token
	}
	all.Wait()
	requireFree(t, direct, name)
}

func TestGivingUpOverASessionLeavesNothing(t *testing.T) {
	client, name := newClient(t, lockserver.WithTransport(lockserver.Session)), servertest.UniqueName()
	lock, err := client.Acquire(within(t, soon), name)
	require.NoError(t, err)
	for range 20 {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Millisecond)
		_, err = client.Acquire(ctx, name)
		cancel()
		require.ErrorIs(t, err, context.DeadlineExceeded)
	}
	info, err := client.Show(within(t, soon), name)
	require.NoError(t, err)
	require.Empty(t, info.Queue)
	_, err = lock.Release(within(t, soon))
	require.NoError(t, err)
	requireFree(t, client, name)
}
