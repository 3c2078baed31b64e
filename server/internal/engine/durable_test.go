package engine_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// Every answer about a resource, refusals and reads included, waits until the newest change of the resource is durable.
func TestAnswersWaitForWhatTheyRestOn(t *testing.T) {
	list := func(s *system) *call {
		c := &call{t: s.t}
		s.List(context.Background(), lock.Query{Size: 10}, lock.Reply{To: c})
		return c
	}
	for name, test := range map[string]struct {
		ask  func(s *system) *call
		code lock.Code
	}{
		"grant":   {func(s *system) *call { return s.acquire(lock.Request{Resource: "other", Owner: "b"}) }, lock.Granted},
		"refusal": {func(s *system) *call { return s.acquire(lock.Request{Resource: "r", Owner: "b"}) }, lock.Locked},
		"limit mismatch": {func(s *system) *call {
			return s.acquire(lock.Request{Resource: "r", Owner: "b", Mode: lock.Semaphore, Limit: 2})
		}, lock.LimitMismatch},
		"same id":     {func(s *system) *call { return s.acquire(lock.Request{Resource: "r", Owner: "a", ID: "1"}) }, lock.Granted},
		"id mismatch": {func(s *system) *call { return s.acquire(lock.Request{Resource: "r", Owner: "a", ID: "1", Expire: 1}) }, lock.Mismatch},
		"id used":     {func(s *system) *call { return s.acquire(lock.Request{Resource: "gone", Owner: "a", ID: "1"}) }, lock.IDUsed},
		"release":     {func(s *system) *call { return s.release(lock.Ref{Resource: "r", Owner: "a"}) }, lock.Released},
		"repeat":      {func(s *system) *call { return s.release(lock.Ref{Resource: "gone", Owner: "a", ID: "1"}) }, lock.Released},
		"not held":    {func(s *system) *call { return s.release(lock.Ref{Resource: "r", Owner: "b"}) }, lock.NotHeld},
		"renewal":     {func(s *system) *call { return s.renew(lock.Ref{Resource: "r", Owner: "a"}, time.Hour) }, lock.Granted},
		"evict":       {func(s *system) *call { return s.evict("r") }, lock.ForceReleased},
		"show":        {func(s *system) *call { return s.show("r") }, lock.Found},
		"not found":   {func(s *system) *call { return s.show("gone") }, lock.NotFound},
		"list":        {list, lock.Found},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, s *system) {
				s.acquire(lock.Request{Resource: "gone", Owner: "a", ID: "1"}).is(lock.Granted)
				s.store.hold()
				s.release(lock.Ref{Resource: "gone", Owner: "a"}).pending()
				s.acquire(lock.Request{Resource: "r", Owner: "a", ID: "1"}).pending()
				asked := test.ask(s)
				asked.pending()
				s.store.step() // the release of "gone" is durable, the grant of "r" is not
				if test.code != lock.IDUsed && name != "repeat" && name != "not found" {
					asked.pending()
				}
				s.store.free()
				asked.is(test.code)
			})
		})
	}
}

func TestAnswersAboutOtherResourcesDoNotWait(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		s.take("durable", "a")
		s.store.hold()
		s.acquire(lock.Request{Resource: "r", Owner: "a"}).pending()
		s.acquire(lock.Request{Resource: "durable", Owner: "b"}).is(lock.Locked)
		s.show("durable").is(lock.Found)
		s.renew(lock.Ref{Resource: "durable", Owner: "a"}, 0).is(lock.Granted)
	})
}

// What is asked while a commit is under way goes together into the next.
func TestManyOperationsShareACommit(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		s.store.hold()
		first := s.acquire(lock.Request{Resource: "first", Owner: "a"})
		first.pending()
		var calls []*call
		for i := range 100 {
			calls = append(calls, s.acquire(lock.Request{Resource: "r" + owner(i), Owner: "a"}))
		}
		s.store.free()
		first.is(lock.Granted)
		for _, c := range calls {
			c.is(lock.Granted)
		}
		require.EqualValues(t, 2, s.CommitStats().Commits)
		require.EqualValues(t, 101, s.CommitStats().Changes)
	})
}

// A renewal that does not lengthen the lease needs no commit: only the length is stored.
func TestPlainRenewalNeedsNoCommit(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		s.acquire(lock.Request{Resource: "r", Owner: "a", Expire: time.Minute}).is(lock.Granted)
		commits := s.CommitStats().Commits
		time.Sleep(30 * time.Second)
		require.Equal(t, time.Minute, s.renew(lock.Ref{Resource: "r", Owner: "a"}, 0).is(lock.Granted).ExpiresIn)
		require.Equal(t, commits, s.CommitStats().Commits)

		s.store.hold()
		longer := s.renew(lock.Ref{Resource: "r", Owner: "a"}, time.Hour)
		longer.pending()
		s.store.free()
		require.Equal(t, time.Hour, longer.is(lock.Granted).ExpiresIn)
		require.Equal(t, commits+1, s.CommitStats().Commits)
	})
}

// The times that an answer tells are those of the moment at which it leaves.
func TestTimesAreThoseOfTheDelivery(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		s.store.takes = 2 * time.Second
		c := s.acquire(lock.Request{Resource: "r", Owner: "a", Expire: time.Minute})
		time.Sleep(2 * time.Second)
		got := c.is(lock.Granted)
		require.Equal(t, 58*time.Second, got.ExpiresIn)
		require.Equal(t, 2*time.Second, got.Waited)
	})
}
