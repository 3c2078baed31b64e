package engine_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// The newest request with an id takes the place over. The older one is told to come again, and is without effect from then on.
func TestTakeOver(t *testing.T) {
	req := lock.Request{Resource: "r", Owner: "b", ID: "1", Wait: time.Minute}
	run(t, func(t *testing.T, s *system) {
		s.take("r", "a")
		older := s.acquire(req)
		other := s.acquire(lock.Request{Resource: "r", Owner: "c", Wait: time.Minute})
		newer := s.acquire(req)
		got := older.is(lock.Queued)
		require.Equal(t, 1, got.Position)
		require.Equal(t, "1", got.ID)
		require.Equal(t, lock.PlaceKept, got.PlaceKept)
		s.Leave(older.ticket)
		s.release(lock.Ref{Resource: "r", Owner: "a"}).is(lock.Released)
		newer.is(lock.Granted)
		s.Leave(older.ticket)
		time.Sleep(30 * time.Second)
		other.pending()
	})
	run(t, func(t *testing.T, s *system) { // while the older one's grant is being committed
		s.store.hold()
		older := s.acquire(req)
		older.pending()
		newer := s.acquire(req)
		s.Leave(older.ticket)
		s.store.free()
		newer.is(lock.Granted)
		older.is(lock.Queued)
		time.Sleep(time.Hour)
		s.show("r").is(lock.Found)
	})
}

// A waiter without a connection holds back nobody, and keeps its place for a while if it has an id.
func TestAbsentWaiters(t *testing.T) {
	req := lock.Request{Resource: "r", Owner: "b", ID: "1", Wait: 5 * time.Second}
	setUp := func(s *system) (later *call) {
		s.take("r", "a")
		hop := s.acquire(req)
		later = s.acquire(lock.Request{Resource: "r", Owner: "c", Wait: time.Minute, Expire: time.Second})
		time.Sleep(5 * time.Second)
		require.Equal(s.t, 1, hop.is(lock.Queued).Position)
		return later
	}
	run(t, func(t *testing.T, s *system) { // skipped
		later := setUp(s)
		s.release(lock.Ref{Resource: "r", Owner: "a"}).is(lock.Released)
		later.is(lock.Granted)
		resumed := s.acquire(req)
		time.Sleep(time.Second)
		resumed.is(lock.Granted)
	})
	run(t, func(t *testing.T, s *system) { // back in time
		later := setUp(s)
		time.Sleep(lock.PlaceKept - time.Nanosecond)
		resumed := s.acquire(req)
		s.release(lock.Ref{Resource: "r", Owner: "a"}).is(lock.Released)
		resumed.is(lock.Granted)
		later.pending()
	})
	run(t, func(t *testing.T, s *system) { // back too late: at the tail
		later := setUp(s)
		time.Sleep(lock.PlaceKept)
		resumed := s.acquire(req)
		s.release(lock.Ref{Resource: "r", Owner: "a"}).is(lock.Released)
		later.is(lock.Granted)
		resumed.pending()
	})
	run(t, func(t *testing.T, s *system) { // a hop whose connection broke while the place is its own keeps it as well
		s.take("r", "a")
		hop := s.acquire(req)
		time.Sleep(time.Second)
		s.Leave(hop.ticket)
		waiters := s.show("r").is(lock.Found).Detail.Queue
		require.Len(t, waiters, 1)
		require.False(t, waiters[0].Present)
		time.Sleep(lock.PlaceKept)
		require.Empty(t, s.show("r").is(lock.Found).Detail.Queue)
	})
	run(t, func(t *testing.T, s *system) { // nor does a 202 that could not be written, after a wait
		s.take("r", "a")
		hop := s.acquire(req)
		time.Sleep(10 * time.Second)
		hop.is(lock.Queued)
		s.Leave(hop.ticket)
		time.Sleep(5 * time.Second)
		require.Empty(t, s.show("r").is(lock.Found).Detail.Queue)
	})
	run(t, func(t *testing.T, s *system) { // or at once
		setUp(s)
		hop := s.acquire(lock.Request{Resource: "r", Owner: "b", ID: "1"})
		hop.is(lock.Queued)
		time.Sleep(5 * time.Second)
		s.Leave(hop.ticket)
		time.Sleep(5 * time.Second)
		require.Len(t, s.show("r").is(lock.Found).Detail.Queue, 1)
	})
}
