package engine_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// restart ends the engine and opens one on what is durable.
func (s *system) restart() *system {
	s.t.Helper()
	require.NoError(s.t, s.Close(context.Background()))
	return open(s.t, s.store.after())
}

// Every lease gets its full length again, counted from the load; also one that had run out while no server ran.
func TestLeasesHaveTheirFullLengthAfterALoad(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		s.acquire(lock.Request{Resource: "leased", Owner: "a", Expire: time.Minute}).is(lock.Granted)
		s.acquire(lock.Request{Resource: "renewed", Owner: "a", Expire: time.Minute, ID: "1"}).is(lock.Granted)
		s.renew(lock.Ref{Resource: "renewed", Owner: "a"}, time.Hour).is(lock.Granted)
		s.take("for ever", "a")
		time.Sleep(59 * time.Second)
		require.NoError(t, s.Close(context.Background()))
		time.Sleep(24 * time.Hour)

		next := open(t, s.store.after())
		holder := func(name string) lock.Holder { return next.show(name).is(lock.Found).Detail.Locks[0].Holders[0] }
		require.Equal(t, time.Minute, holder("leased").ExpiresIn)
		require.Equal(t, time.Hour, holder("renewed").ExpiresIn)
		require.Equal(t, lock.NoLease, holder("for ever").ExpiresIn)
		// The id means the same as before, with the length that it asked for first.
		next.acquire(lock.Request{Resource: "renewed", Owner: "a", Expire: time.Minute, ID: "1"}).is(lock.Granted)
		next.acquire(lock.Request{Resource: "renewed", Owner: "a", Expire: time.Hour, ID: "1"}).is(lock.Mismatch)

		waiter := next.acquire(lock.Request{Resource: "leased", Owner: "b", Wait: time.Minute})
		time.Sleep(time.Minute - time.Nanosecond)
		waiter.pending()
		time.Sleep(time.Nanosecond)
		waiter.is(lock.Granted)
	})
}

func TestKindsAndNamesSurviveARestart(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		for i := range 2 {
			s.acquire(lock.Request{Resource: "shared", Owner: owner(i), Mode: lock.Shared}).is(lock.Granted)
			s.acquire(lock.Request{Resource: "semaphore", Owner: owner(i), Mode: lock.Semaphore, Limit: 3, Note: "why"}).is(lock.Granted)
		}
		next := s.restart()
		next.acquire(lock.Request{Resource: "shared", Owner: "b"}).is(lock.Locked)
		next.acquire(lock.Request{Resource: "shared", Owner: "b", Mode: lock.Shared}).is(lock.Granted)
		next.acquire(lock.Request{Resource: "semaphore", Owner: "b", Mode: lock.Semaphore, Limit: 2}).is(lock.LimitMismatch)
		next.acquire(lock.Request{Resource: "semaphore", Owner: "b", Mode: lock.Semaphore, Limit: 3}).is(lock.Granted)
		next.acquire(lock.Request{Resource: "semaphore", Owner: "c", Mode: lock.Semaphore, Limit: 3}).is(lock.Locked)
		require.Equal(t, "why", next.show("semaphore").is(lock.Found).Detail.Locks[0].Holders[0].Note)
	})
}

// Tokens rise over restarts, start at the time in microseconds, and do not fall back with the clock.
func TestTokensRiseOverRestarts(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		first := s.take("r", "a").Token
		require.Greater(t, first, time.Now().UnixMicro())
		s.release(lock.Ref{Resource: "r", Owner: "a"}).is(lock.Released)
		s = s.restart() // the clock of the bubble has not moved
		second := s.take("r", "a").Token
		require.Greater(t, second, first)

		require.NoError(t, s.Close(context.Background()))
		time.Sleep(time.Hour)
		s = open(t, s.store.after())
		require.Greater(t, s.take("r2", "a").Token, time.Now().UnixMicro())
	})
	synctest.Test(t, func(t *testing.T) { // the clock was set back: the store knows better
		ahead := newStore()
		last := time.Now().Add(time.Hour).UnixMicro()
		ahead.last = last
		require.Equal(t, last+1, open(t, ahead).take("r", "a").Token)
	})
}
