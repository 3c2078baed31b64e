package engine_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// A force release of very many lets others in between, and evicts those alone that were there when it began.
func TestManyEvictedAtOnce(t *testing.T) {
	const holders = 10_000
	permit := func(n int) lock.Request {
		return lock.Request{Resource: "r", Owner: owner(n), Mode: lock.Semaphore, Limit: holders, Wait: time.Minute}
	}
	start := func(s *system) (evicted *call) {
		for i := range holders {
			s.acquire(permit(i))
		}
		synctest.Wait()
		s.store.slow(time.Millisecond)
		evicted = &call{t: s.t}
		go s.ForceRelease("r", 0, "", lock.Reply{To: evicted})
		synctest.Wait()
		return evicted
	}
	run(t, func(t *testing.T, s *system) {
		evicted := start(s)
		other := s.acquire(lock.Request{Resource: "other", Owner: "b"})
		newcomer := s.acquire(permit(holders))
		time.Sleep(3 * time.Millisecond)
		other.is(lock.Granted)
		newcomer.is(lock.Granted)
		evicted.pending()
		time.Sleep(time.Second)
		require.Equal(t, holders, evicted.is(lock.ForceReleased).Detail.HoldersTotal)
		require.Less(t, s.store.largestCommit(), 2000)
		left := s.show("r").is(lock.Found).Detail.Locks[0]
		require.Equal(t, 1, left.HoldersTotal)
		require.Equal(t, owner(holders), left.Holders[0].Owner)
	})
	run(t, func(t *testing.T, s *system) { // the store fails meanwhile
		evicted := start(s)
		s.store.fail(0)
		time.Sleep(time.Millisecond)
		evicted.is(lock.Unavailable)
	})
}
