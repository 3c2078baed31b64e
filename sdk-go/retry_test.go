package lockserver_test

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/lockservertest"
)

var quick = lockservertest.Tuning{BackoffStart: time.Millisecond, BackoffCap: 5 * time.Millisecond}

// A connection that breaks and a proxy in trouble are survived, under one id and without anything to clean up after the grant.
func TestTransientFailuresAreRetriedUnderOneID(t *testing.T) {
	server := newScripted(t).on("/acquire",
		cut(), answer(502, "<html>"), answer(503, ""), answer(504, "{}"), problem(503, "draining", ""), problem(503, "store_unavailable", ""),
		answer(202, `{"id":"x","position":2,"place_kept":10}`), cut(), grant(7, "null"))
	client := server.client(t, quick)
	lock, err := client.Acquire(within(t, soon), "r")
	require.NoError(t, err)
	require.EqualValues(t, 7, lock.Token())
	calls := server.seen("/acquire")
	require.Len(t, calls, 9)
	for i, call := range calls {
		require.Equal(t, calls[0].Body["id"], call.Body["id"])
		require.Equal(t, i > 0 && i != 7, call.Close, "attempt %d: a retry after a failure has a connection of its own", i)
	}
	require.Empty(t, server.seen("/release"))
}

// What cannot get better is raised at once.
func TestDefinitiveFailuresAreRaisedAtOnce(t *testing.T) {
	for _, c := range []struct {
		step step
		code lockserver.Code
	}{
		{problem(400, "invalid_request", `,"field":"note","detail":"too long"`), lockserver.ErrInvalidRequest},
		{problem(401, "unauthorized", ""), lockserver.ErrUnauthorized},
		{problem(409, "limit_mismatch", ""), lockserver.ErrLimitMismatch},
		{problem(413, "too_large", ""), lockserver.ErrTooLarge},
		{problem(429, "too_many_waiters", ""), lockserver.ErrTooManyWaiters},
		{problem(429, "too_many_locks", ""), lockserver.ErrTooManyLocks},
		{problem(500, "internal", ""), lockserver.ErrInternal},
		{problem(503, "invalid_request", ""), lockserver.ErrInvalidRequest}, // the code decides
		{problem(418, "of_the_future", ""), lockserver.Code("of_the_future")},
		{answer(401, "<html>"), lockserver.ErrUnauthorized},
		{answer(400, ""), lockserver.ErrInvalidRequest},
		{answer(500, ""), lockserver.ErrInternal},
		{answer(404, "404 page not found"), lockserver.ErrConnectionFailed},
		{answer(200, "<html>a captive portal"), lockserver.ErrConnectionFailed},
		{answer(200, "{}"), lockserver.ErrConnectionFailed},
	} {
		server := newScripted(t).on("/acquire", c.step).on("/release", freed())
		_, err := server.client(t, quick).Acquire(context.Background(), "r")
		failure := requireCode(t, err, c.code)
		require.Equal(t, "r", failure.Resource)
		require.NotZero(t, failure.Status)
		require.Len(t, server.seen("/acquire"), 1)
		if c.code == lockserver.ErrInvalidRequest && failure.Message == "too long" {
			require.Equal(t, "note", failure.Field)
		}
	}
}

// The secret goes to the server that was named, not to where it redirects.
func TestRedirectsAreNotFollowed(t *testing.T) {
	other := newScripted(t).on("/acquire", grant(1, "null"))
	server := newScripted(t).on("/acquire", func(w http.ResponseWriter, r *http.Request, _ map[string]any) {
		http.Redirect(w, r, other.URL+"/acquire", http.StatusTemporaryRedirect)
	})
	_, err := server.client(t, quick).Acquire(context.Background(), "r")
	requireCode(t, err, lockserver.ErrConnectionFailed)
	require.Empty(t, other.seen("/acquire"))
}

func TestRetryAfterIsAMinimum(t *testing.T) {
	server := newScripted(t).on("/acquire", func(w http.ResponseWriter, _ *http.Request, _ map[string]any) {
		w.Header().Set("Retry-After", "1")
		w.WriteHeader(http.StatusServiceUnavailable)
	}, grant(1, "null"))
	start := time.Now()
	_, err := server.client(t, quick).Acquire(within(t, soon), "r")
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(start), time.Second)
}

// An id that ended before its grant arrived is replaced, and so is a grant that ran out on its way, which is given back.
func TestEndedIDsAreReplaced(t *testing.T) {
	server := newScripted(t).
		on("/acquire", problem(409, "id_used", ""), grant(7, "0.001"), grant(8, "30")).
		on("/release", freed())
	lock, err := server.client(t, quick).Acquire(within(t, soon), "r", lockserver.Expire(30*time.Second))
	require.NoError(t, err)
	require.EqualValues(t, 8, lock.Token())
	calls := server.seen("/acquire")
	require.Len(t, calls, 3)
	require.NotEqual(t, calls[0].Body["id"], calls[1].Body["id"])
	require.NotEqual(t, calls[1].Body["id"], calls[2].Body["id"])
	releases := server.seen("/release")
	require.Len(t, releases, 1)
	require.Equal(t, calls[1].Body["id"], releases[0].Body["id"])
}

// A server that is silent is given up after the bound, if the caller has none; what it may have granted is cancelled.
func TestSilenceIsAConnectionFailure(t *testing.T) {
	t.Parallel()
	tuning := quick
	tuning.Silence, tuning.SilenceQueued, tuning.Hop, tuning.AnswerTimeout = time.Second, 2*time.Second, 10*time.Millisecond, 50*time.Millisecond
	for name, steps := range map[string][]step{
		"silent":   {hang()},
		"refusing": {answer(502, "")},
		"queued":   {answer(202, `{"position":1}`), hang()},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := newScripted(t).on("/acquire", steps...).on("/release", freed())
			start := time.Now()
			_, err := server.client(t, tuning).Acquire(context.Background(), "r")
			took := time.Since(start)
			requireCode(t, err, lockserver.ErrConnectionFailed)
			require.NotErrorIs(t, err, context.DeadlineExceeded, "the caller had no deadline")
			want := tuning.Silence
			if name == "queued" {
				want = tuning.SilenceQueued
			}
			if name == "silent" {
				require.ErrorContains(t, err, "no answer within")
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
	tuning := quick
	tuning.Silence = 10 * time.Millisecond
	server := newScripted(t).on("/acquire", answer(502, "")).on("/release", freed())
	_, err := server.client(t, tuning).Acquire(within(t, 200*time.Millisecond), "r")
	requireCode(t, err, lockserver.ErrLockTimeout)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.NotErrorIs(t, err, lockserver.ErrConnectionFailed)
	require.ErrorContains(t, err, "502")
}

func TestNoServerAtAll(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	addr := listener.Addr().String()
	require.NoError(t, listener.Close())
	tuning := quick
	tuning.Silence, tuning.CleanupTimeout = 300*time.Millisecond, 100*time.Millisecond
	client := newClient(t, lockserver.WithAddr(addr), lockservertest.WithTuning(tuning))

	_, err = client.Acquire(context.Background(), "r")
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

// By owner alone, a release that may have arrived is not sent again: by then somebody else may hold the lock under that owner.
func TestReleaseByOwnerIsSentOnce(t *testing.T) {
	for _, s := range []step{cut(), answer(502, ""), problem(503, "draining", "")} {
		server := newScripted(t).on("/release", s, freed())
		require.Error(t, server.client(t, quick).Release(within(t, soon), "r"))
		calls := server.seen("/release")
		require.Len(t, calls, 1)
		require.Equal(t, map[string]any{"resource": "r", "owner": "tester"}, calls[0].Body)
	}
}

// A not_held in answer to a repeated release means that the first did it; in answer to the first it means that the lock was lost.
func TestReleaseAfterALostAnswer(t *testing.T) {
	notHeld := problem(409, "not_held", `,"reason":"evicted"`)
	for name, c := range map[string]struct {
		expiresIn string
		steps     []step
		want      bool
	}{
		"lost answer":           {"30", []step{cut(), notHeld}, true},
		"lost answer, no lease": {"null", []step{cut(), notHeld}, true},
		"refused before":        {"30", []step{problem(503, "draining", ""), notHeld}, false},
		"first answer":          {"30", []step{notHeld}, false},
		"not held after the deadline": {"0.2", []step{func(w http.ResponseWriter, r *http.Request, b map[string]any) {
			<-time.After(300 * time.Millisecond)
			cut()(w, r, b)
		}, notHeld}, false},
		"released after several errors": {"30", []step{cut(), answer(502, ""), cut(), freed()}, true},
	} {
		t.Run(name, func(t *testing.T) {
			server := newScripted(t).on("/acquire", grant(7, c.expiresIn)).on("/release", c.steps...)
			lock, err := server.client(t, quick).Acquire(within(t, soon), "r", lockserver.Expire(30*time.Second))
			require.NoError(t, err)
			for range 2 {
				released, err := lock.Release(context.Background())
				require.NoError(t, err)
				require.Equal(t, c.want, released)
			}
			<-lock.Done()
			if c.want {
				require.NoError(t, lock.Err())
				require.ErrorIs(t, lock.Renew(context.Background(), 0), lockserver.ErrNotHeld)
			} else {
				require.ErrorIs(t, lock.Err(), lockserver.ErrLockLost)
				require.ErrorIs(t, lock.Renew(context.Background(), 0), lockserver.ErrLockLost)
			}
			require.Len(t, server.seen("/release"), len(c.steps))
		})
	}
}

// A release that failed can be tried again.
func TestReleaseCanBeRepeatedAfterAFailure(t *testing.T) {
	server := newScripted(t).on("/acquire", grant(7, "30")).on("/release", problem(401, "unauthorized", ""), freed())
	lock, err := server.client(t, quick).Acquire(within(t, soon), "r", lockserver.Expire(30*time.Second))
	require.NoError(t, err)
	_, err = lock.Release(context.Background())
	requireCode(t, err, lockserver.ErrUnauthorized)
	released, err := lock.Release(context.Background())
	require.NoError(t, err)
	require.True(t, released)
}

// Release is a clean-up: a context that has ended does not stop it.
func TestReleaseGoesOnWithoutItsContext(t *testing.T) {
	server := newScripted(t).on("/acquire", grant(7, "null")).on("/release", freed())
	client := server.client(t, quick)
	lock, err := client.Acquire(within(t, soon), "r")
	require.NoError(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	released, err := lock.Release(ctx)
	require.NoError(t, err)
	require.True(t, released)
}

// But it does not keep its caller for long, and goes on behind its back.
func TestReleaseReturnsSoonAfterItsContext(t *testing.T) {
	tuning := quick
	tuning.CleanupGrace = 20 * time.Millisecond
	answerNow := make(chan struct{})
	server := newScripted(t).on("/acquire", grant(7, "null")).on("/release", func(w http.ResponseWriter, r *http.Request, b map[string]any) {
		<-answerNow
		freed()(w, r, b)
	})
	lock, err := server.client(t, tuning).Acquire(within(t, soon), "r")
	require.NoError(t, err)
	_, err = lock.Release(within(t, 10*time.Millisecond))
	require.ErrorIs(t, err, context.DeadlineExceeded)
	close(answerNow)
	released, err := lock.Release(within(t, soon))
	require.NoError(t, err)
	require.True(t, released)
	require.Len(t, server.seen("/release"), 1)
}

// What an attempt of an earlier call did counts too.
func TestReleaseAfterALostAnswerOfAnEarlierCall(t *testing.T) {
	tuning := quick
	tuning.CleanupTimeout = 100 * time.Millisecond
	server := newScripted(t).on("/acquire", grant(7, "30")).on("/release", cut())
	lock, err := server.client(t, tuning).Acquire(within(t, soon), "r", lockserver.Expire(30*time.Second))
	require.NoError(t, err)
	_, err = lock.Release(within(t, soon))
	requireCode(t, err, lockserver.ErrConnectionFailed)
	server.on("/release", problem(409, "not_held", `,"reason":"unknown"`))
	released, err := lock.Release(within(t, soon))
	require.NoError(t, err)
	require.True(t, released)
}

func TestReleaseIsBounded(t *testing.T) {
	tuning := quick
	tuning.CleanupTimeout = 100 * time.Millisecond
	server := newScripted(t).on("/acquire", grant(7, "null")).on("/release", hang())
	lock, err := server.client(t, tuning).Acquire(within(t, soon), "r")
	require.NoError(t, err)
	_, err = lock.Release(context.Background())
	requireCode(t, err, lockserver.ErrConnectionFailed)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
}

func TestWhatJSONWouldChangeIsRefused(t *testing.T) {
	client := newClient(t)
	for field, try := range map[string]func() error{
		"resource": func() error { _, err := client.Acquire(context.Background(), "a\xffb"); return err },
		"note":     func() error { _, err := client.Acquire(context.Background(), "r", lockserver.Note("\xff")); return err },
		"expire":   func() error { _, err := client.Acquire(context.Background(), "r", lockserver.Expire(0)); return err },
		"limit":    func() error { _, err := client.Acquire(context.Background(), "r", lockserver.Limit(0)); return err },
	} {
		require.Equal(t, field, requireCode(t, try(), lockserver.ErrInvalidRequest).Field)
	}
}

func TestServersErrorsAreTyped(t *testing.T) {
	server := newScripted(t).on("/acquire", problem(409, "locked",
		`,"holders":[{"owner":"them","token":5,"expires_in":1.5},{"owner":"you","token":6,"expires_in":null}],"holders_total":12,"waiters":3`))
	_, err := server.client(t, quick).TryAcquire(within(t, soon), "r")
	requireCode(t, err, lockserver.ErrLocked)
	var locked *lockserver.LockedError
	require.ErrorAs(t, err, &locked)
	require.Equal(t, []lockserver.Holder{
		{Owner: "them", Token: 5, ExpiresIn: 1500 * time.Millisecond}, {Owner: "you", Token: 6},
	}, locked.Holders)
	require.Equal(t, 12, locked.HoldersTotal)
	require.Equal(t, 3, locked.Waiters)
	call := server.seen("/acquire")[0].Body
	require.NotContains(t, call, "wait")
	require.NotContains(t, call, "expire")
	require.NotContains(t, call, "mode")
}

// roundTripper stands between the client and the network.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A grant that arrives together with the end of its context, or of the client, is given back.
func TestGrantThatRacesWithTheEndIsGivenBack(t *testing.T) {
	for name, code := range map[string]error{"context": context.Canceled, "client": lockserver.ErrConnectionFailed} {
		t.Run(name, func(t *testing.T) {
			server := newScripted(t).on("/acquire", grant(7, "null")).on("/release", freed())
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			arrived, closing := make(chan struct{}), make(chan struct{})
			transport := roundTripper(func(r *http.Request) (*http.Response, error) {
				response, err := http.DefaultTransport.RoundTrip(r.WithContext(context.WithoutCancel(r.Context())))
				if r.URL.Path == "/acquire" {
					close(arrived)
					<-closing
				}
				return response, err
			})
			client := server.client(t, quick, lockserver.WithHTTPClient(&http.Client{Transport: transport}))
			result := make(chan error)
			go func() { _, err := client.Acquire(ctx, "r"); result <- err }()
			<-arrived
			if name == "context" {
				cancel()
				close(closing)
			} else {
				closed := make(chan struct{})
				go func() { _ = client.Close(); close(closed) }()
				eventually(t, "the client is closing", func() bool { return client.Release(ctx, "other") != nil })
				close(closing)
				defer func() { <-closed }()
			}
			require.ErrorIs(t, <-result, code)
			releases := server.seen("/release")
			require.Equal(t, server.seen("/acquire")[0].Body["id"], releases[len(releases)-1].Body["id"])
		})
	}
}

// A RoundTripper of the program's own may do to its request what it likes, and its client's limits do not count.
func TestOwnHTTPClient(t *testing.T) {
	server := newScripted(t).on("/acquire", cut(), grant(7, "null")).on("/release", freed())
	own := &http.Client{Timeout: time.Nanosecond, Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		r.Header.Set("X-Trace", "1")
		r.URL.RawQuery = "traced"
		return http.DefaultTransport.RoundTrip(r)
	})}
	client := server.client(t, quick, lockserver.WithHTTPClient(own))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := client.WithLock(within(t, soon), "r", func(context.Context) error { return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	require.Len(t, server.seen("/release"), 8)
	newClient(t, lockserver.WithHTTPClient(&http.Client{})) // without a Transport: net/http's default
}

// A time-out on the way to the server must not pass for the caller's deadline.
func TestTimeoutsOfTheNetworkAreNotTheCallers(t *testing.T) {
	tuning := quick
	tuning.Silence, tuning.CleanupTimeout = 50*time.Millisecond, 50*time.Millisecond
	late := roundTripper(func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "read", Err: context.DeadlineExceeded}
	})
	_, err := newClient(t, lockservertest.WithTuning(tuning), lockserver.WithHTTPClient(&http.Client{Transport: late})).
		Acquire(context.Background(), "r")
	requireCode(t, err, lockserver.ErrConnectionFailed)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "read")
}
