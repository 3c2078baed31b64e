package engine_test

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

func TestWaiterIsGrantedWhenTheHolderReleases(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		first := s.take("r", "a")
		waiter := s.acquire(lock.Request{Resource: "r", Owner: "b", Wait: time.Minute})
		waiter.pending()
		time.Sleep(3 * time.Second)
		s.release(lock.Ref{Resource: "r", Owner: "a"}).is(lock.Released)
		got := waiter.is(lock.Granted)
		require.Greater(t, got.Token, first.Token)
		require.Equal(t, 3*time.Second, got.Waited)
		require.Equal(t, lock.NoLease, got.ExpiresIn)
	})
}

func TestWaiterIsGrantedAtTheDeadline(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		s.acquire(lock.Request{Resource: "r", Owner: "a", Expire: 10 * time.Second}).is(lock.Granted)
		waiter := s.acquire(lock.Request{Resource: "r", Owner: "b", Wait: time.Minute, Expire: 5 * time.Second})
		time.Sleep(10*time.Second - time.Nanosecond)
		waiter.pending()
		time.Sleep(time.Nanosecond)
		got := waiter.is(lock.Granted)
		require.Equal(t, 10*time.Second, got.Waited)
		require.Equal(t, 5*time.Second, got.ExpiresIn)
	})
}

// Very many leases that end at once do not make one huge commit, behind which others would wait; and all of them end, although nothing
// else happens any more.
func TestManyLeasesEndAtOnce(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		const leases = 10_000
		end := time.Now().Add(time.Minute)
		for i := range leases {
			s.acquire(lock.Request{Resource: owner(i), Owner: "a", Expire: time.Until(end)})
		}
		time.Sleep(time.Second)
		waiter := s.acquire(lock.Request{Resource: owner(leases - 1), Owner: "b", Wait: time.Minute})
		synctest.Wait()
		s.store.slow(time.Millisecond)
		time.Sleep(time.Until(end))
		other := s.acquire(lock.Request{Resource: "other", Owner: "b"})
		time.Sleep(3 * time.Millisecond)
		other.is(lock.Granted)
		time.Sleep(time.Second)
		waiter.is(lock.Granted)
		require.EqualValues(t, leases, s.Stats().Events[lock.EventExpired])
		require.Less(t, s.store.largestCommit(), 2000)
	})
}
