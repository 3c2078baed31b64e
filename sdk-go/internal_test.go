package lockserver

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// The first retry comes at once, the second after 50 ms, and from then on twice as long up to 2 s, each times 0.5 to 1.
func TestBackoff(t *testing.T) {
	client, err := New(WithSecret("s"), WithoutDotEnv())
	require.NoError(t, err)
	defer client.Close()
	for range 100 {
		b := client.newCall(&opShow, "r", 0, nil).backoff
		require.False(t, b.failed())
		require.Zero(t, b.after(0))
		for _, ms := range []int{50, 100, 200, 400, 800, 1600, 2000, 2000, 2000} {
			require.True(t, b.failed())
			most := time.Duration(ms) * time.Millisecond
			pause := b.after(0)
			require.LessOrEqual(t, pause, most)
			require.GreaterOrEqual(t, pause, most/2)
		}
		require.Equal(t, time.Minute, b.after(time.Minute), "Retry-After is a minimum")
		require.Greater(t, b.after(time.Millisecond), time.Millisecond)
	}
}

// Times for people have three digits, and no fewer than whole seconds.
func TestTimesForPeople(t *testing.T) {
	for d, text := range map[time.Duration]string{
		0: "0 s", 400 * time.Microsecond: "0 s", time.Millisecond: "0.001 s", 499_600 * time.Microsecond: "0.5 s", 4_999_900 * time.Microsecond: "5 s",
		1_234 * time.Millisecond: "1.23 s", 12_345 * time.Millisecond: "12.3 s", 999_960 * time.Millisecond: "1000 s",
		100_000*time.Second + time.Millisecond: "100000 s",
	} {
		require.Equal(t, text, inSeconds(d))
	}
	require.Equal(t, "0.3 s", roughly(250*time.Millisecond))
	require.Equal(t, "12 s", roughly(12_345*time.Millisecond))
}

// The variables of the environment that name proxies are not followed.
func TestNoProxyOfTheEnvironment(t *testing.T) {
	for _, opt := range []Option{func(*settings) {}, WithProxy("http://proxy"), WithHTTPClient(&http.Client{})} {
		client, err := New(WithSecret("s"), WithoutDotEnv(), WithTransport(HTTP), opt)
		require.NoError(t, err)
		network := client.transport.(*servers).current()
		require.Nil(t, network.pool.(*http.Transport).Proxy)
		require.Nil(t, network.single.(*http.Transport).Proxy)
		require.NoError(t, client.Close())
	}
}

// counting answers every call, and counts them.
type counting struct{ calls int }

func (c *counting) send(context.Context, attempt) outcome {
	c.calls++
	return outcome{answer: answer{status: 200, body: []byte(`{"token":7,"expires_in":60,"waited":0}`)}}
}

func (c *counting) start(attempt) begun { return nil }

func (c *counting) addresses() int { return 1 }

func (c *counting) session() any { return nil }

func (c *counting) close() {}

// A renewal whose time comes while the client closes, and before its lock is declared lost, is not begun: Close would not wait for it.
func TestRenewalIsNotBegunWhileTheClientCloses(t *testing.T) {
	client, err := New(WithSecret("s"), WithoutDotEnv())
	require.NoError(t, err)
	network := &counting{}
	client.transport = network
	lease := 60.0
	lock := client.hold(&acquisition{
		client: client, options: acquireOptions{expire: time.Minute, renew: true}, request: acquireRequest{Resource: "r"},
		sent: client.clock.now(), granted: grantAnswer{Token: 7, ExpiresIn: &lease},
	})
	require.NotNil(t, lock)

	lock.renewInBackground()
	require.Equal(t, 1, network.calls, "while the client is open")
	client.mu.Lock()
	client.closed = true
	client.mu.Unlock()
	lock.renewInBackground()
	require.Equal(t, 1, network.calls)
	require.NoError(t, lock.Err())

	require.NoError(t, client.Close())
	require.ErrorIs(t, lock.Err(), ErrLockLost)
	lock.renewInBackground()
	require.Equal(t, 1, network.calls)
}

// What a keeper notes of leases that no keepalive must renew ends with the lease, and with its session.
func TestAnEndedLeaseStopsNoKeepalive(t *testing.T) {
	on := new(int)
	client := newClient(&settings{}, "", stub{on})
	k := client.keeper
	lease := func(token int64) *Lock { return &Lock{client: client, token: token, leased: true} }

	k.let(lease(1), on)
	require.False(t, k.mayKeepAlive(on))
	k.gone(1)
	require.True(t, k.mayKeepAlive(on))

	overtaken := lease(2)
	k.let(overtaken, on)
	k.finish(overtaken)
	k.moved(overtaken, on, true)
	require.True(t, k.mayKeepAlive(on), "by a release, while its renewal was on its way")

	late := lease(3)
	late.on = new(int)
	k.leave(late)
	require.Empty(t, k.others, "its session ended before it did")
}

// stub is a transport that has a session and nothing else.
type stub struct{ on any }

func (s stub) session() any                        { return s.on }
func (stub) send(context.Context, attempt) outcome { return outcome{reason: "nothing is sent"} }
func (stub) start(attempt) begun                   { return nil }
func (stub) addresses() int                        { return 1 }
func (stub) close()                                {}
