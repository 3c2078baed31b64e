package engine_test

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store/memory"
)

// A grant that runs out before its answer is none: the request keeps its place while its wait goes on.
func TestGrantThatRunsOutBeforeItsAnswer(t *testing.T) {
	req := lock.Request{Resource: "r", Owner: "a", ID: "1", Expire: time.Second, Wait: time.Minute}
	run(t, func(t *testing.T, s *system) {
		s.store.hold()
		c := s.acquire(req)
		next := s.acquire(lock.Request{Resource: "r", Owner: "b", Wait: time.Minute})
		time.Sleep(1500 * time.Millisecond)
		c.pending()
		next.pending() // it stays behind
		s.store.free()
		got := c.is(lock.Granted)
		require.Equal(t, time.Second, got.ExpiresIn)
		require.Equal(t, 1500*time.Millisecond, got.Waited)
		next.pending()
		time.Sleep(time.Second)
		next.is(lock.Granted)
	})
	run(t, func(t *testing.T, s *system) { // with less than the millisecond left that an answer can tell
		s.store.hold()
		c := s.acquire(req)
		time.Sleep(time.Second - time.Millisecond + time.Nanosecond)
		s.store.free()
		require.Equal(t, time.Second, c.is(lock.Granted).ExpiresIn)
		require.EqualValues(t, 2, s.Stats().Events[lock.EventGranted])
	})
	run(t, func(t *testing.T, s *system) { // its wait is over: 202 with an id
		s.store.hold()
		req := req
		req.Wait = 0
		c := s.acquire(req)
		next := s.acquire(lock.Request{Resource: "r", Owner: "b", Wait: time.Minute})
		time.Sleep(time.Second)
		s.store.free()
		c.is(lock.Queued)
		next.is(lock.Granted)
	})
	run(t, func(t *testing.T, s *system) { // and a refusal without
		s.store.hold()
		c := s.acquire(lock.Request{Resource: "r", Owner: "a", Expire: time.Second})
		time.Sleep(time.Second)
		s.store.free()
		c.is(lock.Locked)
		s.show("r").is(lock.NotFound)
	})
	run(t, func(t *testing.T, s *system) { // it was evicted meanwhile
		s.store.hold()
		c := s.acquire(lock.Request{Resource: "r", Owner: "a", Expire: time.Second})
		s.evict("r")
		time.Sleep(time.Second)
		s.store.free()
		c.is(lock.Locked)
	})
	run(t, func(t *testing.T, s *system) { // its client has gone
		s.store.hold()
		c := s.acquire(req)
		next := s.acquire(lock.Request{Resource: "r", Owner: "b", Wait: time.Minute})
		time.Sleep(time.Second)
		s.Leave(c.ticket)
		s.store.free()
		next.is(lock.Granted)
	})
	run(t, func(t *testing.T, s *system) { // the server shuts down
		s.store.hold()
		c := s.acquire(req)
		time.Sleep(time.Second)
		s.Drain()
		s.store.free()
		c.is(lock.Draining)
		s.show("r").is(lock.NotFound)
	})
	run(t, func(t *testing.T, s *system) { // a renewal in time, by a request that knows the id, keeps it
		s.store.hold()
		c := s.acquire(req)
		s.renew(lock.Ref{Resource: "r", Owner: "a", ID: "1"}, time.Minute)
		time.Sleep(time.Second)
		s.store.free()
		require.Equal(t, 59*time.Second, c.is(lock.Granted).ExpiresIn)
	})
	run(t, func(t *testing.T, s *system) { // a renewal at the deadline does not
		s.store.hold()
		s.acquire(req)
		time.Sleep(time.Second)
		renewal := s.renew(lock.Ref{Resource: "r", Owner: "a", ID: "1"}, time.Minute)
		s.store.free()
		require.Equal(t, lock.Expired, renewal.is(lock.NotHeld).Reason)
	})
}

// While a grant that ran out is still without its answer, nobody sees a lease that goes below nothing.
func TestNoNegativeTimeLeft(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		s.store.hold()
		s.acquire(lock.Request{Resource: "r", Owner: "a", Expire: time.Second})
		time.Sleep(2 * time.Second)
		refused := s.acquire(lock.Request{Resource: "r", Owner: "b"})
		s.store.free()
		for _, h := range refused.is(lock.Locked).Detail.Holders {
			require.GreaterOrEqual(t, h.ExpiresIn, time.Duration(0))
		}
	})
}

// The same on a store that commits at once: its client went away, and came back when hardly anything was left of the lease.
func TestGrantThatRunsOutBeforeItsAnswerOnAnInstantStore(t *testing.T) {
	for wait, code := range map[time.Duration]lock.Code{0: lock.Queued, time.Minute: lock.Granted} {
		synctest.Test(t, func(t *testing.T) {
			e, err := openEngine(memory.New(), bounds)
			require.NoError(t, err)
			defer e.Close(context.Background())
			s := &system{Engine: e, t: t}
			req := lock.Request{Resource: "r", Owner: "a", ID: "1", Expire: time.Second, Wait: wait}
			e.Leave(s.acquire(req).ticket)
			time.Sleep(time.Second - time.Millisecond + time.Nanosecond)
			got := s.acquire(req).is(code)
			require.Equal(t, code == lock.Granted, got.ExpiresIn == time.Second)
		})
	}
}
