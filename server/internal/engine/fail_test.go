package engine_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
)

// When a commit fails in the middle, everybody who waits learns that the outcome is unknown: those of the batch, those behind it, and
// those in a queue. What had landed is held after the next load, and nothing else.
func TestFailureInTheMiddleOfABatch(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		s.take("held", "a")
		parked := s.acquire(lock.Request{Resource: "held", Owner: "b", Wait: time.Minute})
		s.store.hold()
		inflight := s.acquire(lock.Request{Resource: "inflight", Owner: "a"})
		inflight.pending()
		batch := []*call{
			s.acquire(lock.Request{Resource: "first", Owner: "a"}),
			s.acquire(lock.Request{Resource: "second", Owner: "a"}),
			s.acquire(lock.Request{Resource: "first", Owner: "b"}),
			s.release(lock.Ref{Resource: "second", Owner: "a"}),
			s.show("second"),
		}
		s.store.step()
		inflight.is(lock.Granted)
		behind := s.acquire(lock.Request{Resource: "behind", Owner: "a"})
		reason := s.store.fail(1)
		s.store.free()

		for _, c := range append(batch, behind, parked) {
			c.is(lock.Unavailable)
		}
		<-s.Failed()
		require.ErrorIs(t, s.Err(), reason)
		for _, c := range []*call{s.acquire(lock.Request{Resource: "new", Owner: "a"}), s.show("held"), s.renew(lock.Ref{Resource: "held", Owner: "a"}, 0)} {
			c.is(lock.Unavailable)
		}
		require.ErrorIs(t, s.Close(context.Background()), reason)

		next := open(t, s.store.after())
		for _, name := range []string{"held", "inflight", "first"} {
			next.show(name).is(lock.Found)
		}
		for _, name := range []string{"second", "behind", "new"} {
			next.show(name).is(lock.NotFound)
		}
	})
}

// The changes of one operation land together: a lock handed on is never held by none.
func TestHandingOnIsOneGroup(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		s.take("r", "a")
		waiter := s.acquire(lock.Request{Resource: "r", Owner: "b", Wait: time.Minute})
		s.store.fail(1)
		s.release(lock.Ref{Resource: "r", Owner: "a"}).is(lock.Unavailable)
		waiter.is(lock.Unavailable)
		next := open(t, s.store.after())
		require.Equal(t, "b", next.show("r").is(lock.Found).Detail.Locks[0].Holders[0].Owner)
	})
}

func TestStoreLostBetweenCommits(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		s.take("r", "a")
		parked := s.acquire(lock.Request{Resource: "r", Owner: "b", Wait: time.Minute})
		reason := errors.New("another writer took over")
		s.store.lose(reason)
		parked.is(lock.Unavailable)
		<-s.Failed()
		require.ErrorIs(t, s.Err(), reason)
		s.show("r").is(lock.Unavailable)
	})
}

// Leases do not end on a failed engine, and a client that goes away then does no harm.
func TestTimeAfterAFailure(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		c := s.acquire(lock.Request{Resource: "r", Owner: "a", Expire: time.Second})
		c.is(lock.Granted)
		s.store.lose(errors.New("gone"))
		synctest.Wait()
		s.Leave(c.ticket)
		s.Drain()
		time.Sleep(time.Minute)
		require.Zero(t, s.Stats().Events[lock.EventExpired])
	})
}

func TestCloseCommitsWhatTookEffect(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		s.store.hold()
		first := s.acquire(lock.Request{Resource: "first", Owner: "a"})
		first.pending()
		second := s.acquire(lock.Request{Resource: "second", Owner: "a"})
		parked := s.acquire(lock.Request{Resource: "second", Owner: "b", Wait: time.Minute})

		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		require.ErrorIs(t, s.Close(ctx), context.DeadlineExceeded)
		first.pending()

		s.store.free()
		require.NoError(t, s.Close(context.Background()))
		first.is(lock.Granted)
		second.is(lock.Granted)
		parked.is(lock.Unavailable)
		s.show("first").is(lock.Unavailable)
		select {
		case <-s.Failed():
			t.Error("Close counts as a failure")
		default:
		}
		next := open(t, s.store.after())
		next.show("first").is(lock.Found)
		next.show("second").is(lock.Found)
	})
}

// Whichever comes first to the committer, the changes or the end.
func TestCloseAtOnce(t *testing.T) {
	for range 20 {
		run(t, func(t *testing.T, s *system) {
			c := s.acquire(lock.Request{Resource: "r", Owner: "a"})
			require.NoError(t, s.Close(context.Background()))
			c.is(lock.Granted)
			open(t, s.store.after()).show("r").is(lock.Found)
		})
	}
}

func TestOpenFailsWithItsStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStore()
		s.records[1] = lock.Record{Resource: "r", Owner: "a", Token: 1}
		s.records[2] = lock.Record{Resource: "r", Owner: "b", Token: 2}
		_, err := openEngine(s, bounds)
		require.ErrorIs(t, err, store.ErrCorrupt)
		require.ErrorContains(t, err, `"r"`)
	})
}

// A list in progress is answered too if the store fails.
func TestListOnAFailingEngine(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		s.take("r", "a")
		s.store.hold()
		s.acquire(lock.Request{Resource: "r2", Owner: "a"}).pending()
		c := s.list(lock.Query{Size: 10})
		s.store.fail(0)
		s.store.free()
		c.is(lock.Unavailable)
		s.list(lock.Query{Size: 10}).is(lock.Unavailable)
	})
}
