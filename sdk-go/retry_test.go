package lockserver_test

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/settings"
)

// A connection that breaks and a proxy in trouble are survived, under one id and without anything to clean up after the grant.
func TestTransientFailuresAreRetriedUnderOneID(t *testing.T) {
	server := newMemory().on("/acquire",
		cut(), answer(502, "<html>"), answer(503, ""), answer(504, "{}"), problem(503, "draining", ""), problem(503, "store_unavailable", ""), problem(507, "storage_full", ""),
		answer(202, `{"id":"x","position":2,"place_kept":10}`), cut(), grant(7, "null"))
	client := server.client(t, quick)
	lock, err := client.Acquire(within(t, soon), "r")
	require.NoError(t, err)
	require.EqualValues(t, 7, lock.Token())
	calls := server.seen("/acquire")
	require.Len(t, calls, 10)
	for i, call := range calls {
		require.Equal(t, calls[0].Body["id"], call.Body["id"])
		require.Equal(t, i > 0 && i != 8, call.Fresh, "attempt %d: a retry after a failure has a connection of its own", i)
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
	} {
		server := newMemory().on("/acquire", c.step).on("/release", freed())
		_, err := server.client(t, quick).Acquire(context.Background(), "r")
		failure := requireCode(t, err, c.code)
		require.Equal(t, "r", failure.Resource)
		require.NotZero(t, failure.Status)
		require.Len(t, server.seen("/acquire"), 1)
		cancels := 0 // the server said that it did nothing
		if failure.Status >= 500 {
			cancels = 1 // it may have had its effect
		}
		require.Len(t, server.seen("/release"), cancels, c.code)
		if c.code == lockserver.ErrInvalidRequest && failure.Message == "too long" {
			require.Equal(t, "note", failure.Field)
		}
	}
}

// The secret goes to the server that was named, not to where it redirects.
func TestRedirectsAreNotFollowed(t *testing.T) {
	other := newScripted(t).on("/acquire", grant(1, "null"))
	server := newScripted(t).on("/acquire",
		always(reply{status: http.StatusTemporaryRedirect, header: map[string]string{"Location": other.URL + "/acquire"}}))
	_, err := server.client(t, quick).Acquire(context.Background(), "r")
	requireCode(t, err, lockserver.ErrConnectionFailed)
	require.Empty(t, other.seen("/acquire"))
}

func TestRetryAfterIsAMinimum(t *testing.T) {
	server := newScripted(t).on("/acquire",
		always(reply{status: http.StatusServiceUnavailable, header: map[string]string{"Retry-After": "1"}}), grant(1, "null"))
	start := time.Now()
	_, err := server.client(t, quick).Acquire(within(t, soon), "r")
	require.NoError(t, err)
	require.GreaterOrEqual(t, time.Since(start), time.Second)
}

// An id that ended before its grant arrived is replaced, and so is a grant that ran out on its way, which is given back.
func TestEndedIDsAreReplaced(t *testing.T) {
	server := newMemory().
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

// Where the caller has a limit, the bound on silence does not shorten the pauses: a server in trouble is not hammered from then on.
func TestRenewPausesUntilTheCallersDeadline(t *testing.T) {
	bounds := settings.Bounds{BackoffFirst: time.Hour, BackoffMost: time.Hour, Silence: time.Millisecond}
	server := newMemory().on("/acquire", grant(7, "1000")).on("/renew", answer(502, ""))
	lock, err := server.client(t, bounds).Acquire(within(t, soon), "r", lockserver.Expire(1000*time.Second))
	require.NoError(t, err)
	requireCode(t, lock.Renew(within(t, 500*time.Millisecond), 0), lockserver.ErrLockTimeout)
	require.LessOrEqual(t, len(server.seen("/renew")), 2, "the first retry comes at once, the next after a pause")
}
