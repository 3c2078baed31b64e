package lockserver_test

import (
	"context"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/testclock"
)

// By owner alone, a release that may have arrived is not sent again: by then somebody else may hold the lock under that owner.
func TestReleaseByOwnerIsSentOnce(t *testing.T) {
	for _, s := range []step{cut(), answer(502, ""), problem(503, "draining", "")} {
		server := newMemory().on("/release", s, freed())
		require.Error(t, server.client(t, quick).Release(within(t, soon), "r"))
		calls := server.seen("/release")
		require.Len(t, calls, 1)
		require.Equal(t, map[string]any{"resource": "r", "owner": "tester"}, calls[0].Body)
	}
}

// A not_held in answer to a repeated release means that the first did it, unless its reason is a loss; in answer to the first it means
// that the lock was lost.
func TestReleaseAfterALostAnswer(t *testing.T) {
	refused := func(reason string) step { return problem(409, "not_held", `,"reason":"`+reason+`"`) }
	notHeld := refused("unknown")
	clock := testclock.New()
	for name, c := range map[string]struct {
		expiresIn string
		steps     []step
		want      bool
	}{
		"lost answer":                   {"30", []step{cut(), notHeld}, true},
		"lost answer, no lease":         {"null", []step{cut(), notHeld}, true},
		"lost answer, a successor":      {"30", []step{cut(), refused("other_holder")}, true},
		"lost answer, no reason":        {"30", []step{cut(), problem(409, "not_held", "")}, true},
		"lost answer, evicted":          {"30", []step{cut(), refused("evicted")}, false},
		"lost answer, expired":          {"30", []step{cut(), refused("expired")}, false},
		"refused before":                {"30", []step{problem(503, "draining", ""), notHeld}, false},
		"first answer":                  {"30", []step{notHeld}, false},
		"not held after the deadline":   {"30", []step{past(clock, cut()), notHeld}, false},
		"released after several errors": {"30", []step{cut(), answer(502, ""), cut(), freed()}, true},
	} {
		t.Run(name, func(t *testing.T) {
			whetherBegun(t, func(t *testing.T, server *memory) {
				server.on("/acquire", grant(7, c.expiresIn)).on("/release", c.steps...)
				lock, err := server.client(t, quick, withClock(clock)).Acquire(within(t, soon), "r", lockserver.Expire(30*time.Second))
				require.NoError(t, err)
				for range 2 {
					released, err := lock.Release(within(t, soon))
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
		})
	}
}

// past answers after the deadline of a lease of 30 s.
func past(clock *testclock.Clock, s step) step {
	return func(ctx context.Context, body map[string]any) reply {
		clock.ShiftMonotonic(time.Minute)
		return s(ctx, body)
	}
}

// A release that failed can be tried again.
func TestReleaseCanBeRepeatedAfterAFailure(t *testing.T) {
	server := newMemory().on("/acquire", grant(7, "30")).on("/release", problem(401, "unauthorized", ""), freed())
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
	server := newMemory().on("/acquire", grant(7, "null")).on("/release", freed())
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
	bounds := quick
	bounds.Grace = 20 * time.Millisecond
	whetherBegun(t, func(t *testing.T, server *memory) {
		answerNow := make(chan struct{})
		server.on("/acquire", grant(7, "null")).on("/release", func(ctx context.Context, body map[string]any) reply {
			select {
			case <-answerNow:
			case <-ctx.Done():
			}
			return freed()(ctx, body)
		})
		lock, err := server.client(t, bounds).Acquire(within(t, soon), "r")
		require.NoError(t, err)
		_, err = lock.Release(within(t, 10*time.Millisecond))
		require.ErrorIs(t, err, context.DeadlineExceeded)
		close(answerNow)
		released, err := lock.Release(within(t, soon))
		require.NoError(t, err)
		require.True(t, released)
		require.Len(t, server.seen("/release"), 1)
	})
}

// What an attempt of an earlier call did counts too.
func TestReleaseAfterALostAnswerOfAnEarlierCall(t *testing.T) {
	t.Parallel()
	bounds := quick
	bounds.Cleanup = 2 * time.Second // a third of it is enough for an answer on a busy machine
	server := newMemory().on("/acquire", grant(7, "30")).on("/release", cut())
	lock, err := server.client(t, bounds).Acquire(within(t, soon), "r", lockserver.Expire(30*time.Second))
	require.NoError(t, err)
	_, err = lock.Release(within(t, soon))
	requireCode(t, err, lockserver.ErrConnectionFailed)
	server.on("/release", problem(409, "not_held", `,"reason":"unknown"`))
	released, err := lock.Release(within(t, soon))
	require.NoError(t, err)
	require.True(t, released)
}

// A server whose certificate is not trusted was sent nothing, so that a not_held after it is a loss.
func TestReleaseAfterAnUntrustedCertificate(t *testing.T) {
	server := newScripted(t).on("/acquire", grant(7, "30")).on("/release", problem(409, "not_held", `,"reason":"unknown"`))
	impostor := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(impostor.Close)
	impostor.Config.ErrorLog = log.New(io.Discard, "", 0)
	untrusted := true
	own := &http.Client{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		if r.URL.Path == "/release" && untrusted {
			untrusted = false
			r.URL.Scheme, r.URL.Host = "https", impostor.Listener.Addr().String()
		}
		return http.DefaultTransport.RoundTrip(r)
	})}
	lock, err := server.client(t, quick, lockserver.WithHTTPClient(own)).Acquire(within(t, soon), "r", lockserver.Expire(30*time.Second))
	require.NoError(t, err)
	_, err = lock.Release(within(t, soon))
	requireCode(t, err, lockserver.ErrConnectionFailed)
	require.ErrorContains(t, err, "certificate")
	released, err := lock.Release(within(t, soon))
	require.NoError(t, err)
	require.False(t, released)
	require.ErrorIs(t, lock.Err(), lockserver.ErrLockLost)
}

func TestReleaseIsBounded(t *testing.T) {
	bounds := quick
	bounds.Cleanup = 100 * time.Millisecond
	server := newMemory().on("/acquire", grant(7, "null")).on("/release", hang())
	lock, err := server.client(t, bounds).Acquire(within(t, soon), "r")
	require.NoError(t, err)
	_, err = lock.Release(context.Background())
	requireCode(t, err, lockserver.ErrConnectionFailed)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
}
