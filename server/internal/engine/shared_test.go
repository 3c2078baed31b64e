package engine_test

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// sharedStore is one that another server may take over at any time.
type sharedStore struct {
	*testStore
	confirmed int // commits without changes
}

func (s *sharedStore) Shared() {}

func (s *sharedStore) Commit(ctx context.Context, changes []lock.Change) error {
	if len(changes) > 0 {
		return s.testStore.Commit(ctx, changes)
	}
	s.mu.Lock()
	gate := s.gate
	s.mu.Unlock()
	if gate != nil {
		<-gate
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.confirmed++
	return s.fails
}

func runShared(t *testing.T, test func(t *testing.T, s *system, confirmed func() int)) {
	synctest.Test(t, func(t *testing.T) {
		st := &sharedStore{testStore: newStore()}
		e, err := openEngine(st, bounds)
		require.NoError(t, err)
		s := &system{Engine: e, t: t, store: st.testStore}
		defer func() {
			s.store.free()
			_ = e.Close(context.Background())
		}()
		test(t, s, func() int {
			st.mu.Lock()
			defer st.mu.Unlock()
			return st.confirmed
		})
	})
}

// asks are operations that change nothing durable, on a lock that "a" holds as "1".
var asks = map[string]struct {
	ask  func(s *system) *call
	code lock.Code
}{
	"refusal": {func(s *system) *call { return s.acquire(lock.Request{Resource: "r", Owner: "b"}) }, lock.Locked},
	"same id": {func(s *system) *call {
		return s.acquire(lock.Request{Resource: "r", Owner: "a", ID: "1", Expire: time.Hour})
	}, lock.Granted},
	"renewal":  {func(s *system) *call { return s.renew(lock.Ref{Resource: "r", Owner: "a"}, time.Minute) }, lock.Granted},
	"not held": {func(s *system) *call { return s.release(lock.Ref{Resource: "r", Owner: "b"}) }, lock.NotHeld},
	"show":     {func(s *system) *call { return s.show("r") }, lock.Found},
	"nothing":  {func(s *system) *call { return s.show("free") }, lock.NotFound},
	"list": {func(s *system) *call {
		c := &call{t: s.t}
		s.List(context.Background(), lock.Query{Size: 10}, lock.Reply{To: c})
		return c
	}, lock.Found},
}

// An answer that rests on no commit waits for a commit that began after its operation, not for one that was under way.
func TestSharedStoreConfirmsEveryAnswer(t *testing.T) {
	for name, test := range asks {
		t.Run(name, func(t *testing.T) {
			runShared(t, func(t *testing.T, s *system, confirmed func() int) {
				s.acquire(lock.Request{Resource: "r", Owner: "a", ID: "1", Expire: time.Hour}).is(lock.Granted)
				s.store.hold()
				underWay := s.show("r")
				underWay.pending()
				asked := test.ask(s)
				asked.pending()
				before := confirmed()
				s.store.step()
				underWay.is(lock.Found)
				asked.pending()
				s.store.free()
				asked.is(test.code)
				require.Equal(t, before+2, confirmed())
			})
		})
	}
}

func TestAnswersAboutACommitUnderWayAreConfirmedByTheNext(t *testing.T) {
	runShared(t, func(_ *testing.T, s *system, _ func() int) {
		s.acquire(lock.Request{Resource: "r", Owner: "a", Expire: time.Hour}).is(lock.Granted)
		s.store.hold()
		released := s.release(lock.Ref{Resource: "r", Owner: "a"})
		released.pending()
		renewed := s.renew(lock.Ref{Resource: "r", Owner: "a"}, 0)
		taken := s.acquire(lock.Request{Resource: "r", Owner: "b"})
		s.store.step()
		released.is(lock.Released)
		renewed.pending()
		taken.pending()
		s.store.free()
		renewed.is(lock.NotHeld)
		taken.is(lock.Granted)
	})
}

func TestOneConfirmationServesAllThatCameMeanwhile(t *testing.T) {
	runShared(t, func(t *testing.T, s *system, confirmed func() int) {
		s.acquire(lock.Request{Resource: "r", Owner: "a", ID: "1", Expire: time.Hour}).is(lock.Granted)
		s.store.hold()
		s.show("r").pending()
		var asked []*call
		for range 100 {
			asked = append(asked, s.show("r"))
		}
		before := confirmed()
		s.store.free()
		for _, c := range asked {
			c.is(lock.Found)
		}
		require.Equal(t, before+2, confirmed())
		synctest.Wait()
		require.Equal(t, before+2, confirmed(), "nobody asked")
	})
}

func TestAnswersThatCannotBeConfirmedAreUnknown(t *testing.T) {
	for name, test := range asks {
		t.Run(name, func(t *testing.T) {
			runShared(t, func(t *testing.T, s *system, _ func() int) {
				s.acquire(lock.Request{Resource: "r", Owner: "a", ID: "1", Expire: time.Hour}).is(lock.Granted)
				waits := s.acquire(lock.Request{Resource: "r", Owner: "w", Wait: time.Minute})
				synctest.Wait()
				err := s.store.fail(0)
				test.ask(s).is(lock.Unavailable)
				waits.is(lock.Unavailable)
				<-s.Failed()
				require.ErrorIs(t, s.Err(), err)
			})
		})
	}
}

// Clients that ask again as soon as they are answered share each commit, and one that is alone waits for nobody.
func TestCommitsOfASharedStoreGather(t *testing.T) {
	const clients, rounds, takes = 10, 5, 8 * time.Millisecond
	runShared(t, func(t *testing.T, s *system, _ func() int) {
		answered := func(ask func(lock.Reply)) {
			c := &call{t: t, came: make(chan struct{})}
			ask(lock.Reply{To: c})
			<-c.came
		}
		acquire := func(resource string) {
			answered(func(to lock.Reply) { s.Acquire(&lock.Request{Resource: resource, Owner: "a"}, to) })
		}
		s.store.slow(takes)
		began := time.Now()
		var done sync.WaitGroup
		for n := range clients {
			done.Go(func() {
				time.Sleep(time.Duration(n) * time.Millisecond / 10) // they do not begin together
				for range rounds {
					acquire(owner(n))
					time.Sleep(time.Millisecond / 10) // on the way
					answered(func(to lock.Reply) { s.Release(&lock.Ref{Resource: owner(n), Owner: "a"}, to) })
					time.Sleep(time.Millisecond / 10)
				}
			})
		}
		done.Wait()
		// The first commit is of one client, while the others ask. From the second on all are together.
		require.Equal(t, clients, s.store.largestCommit())
		require.Less(t, time.Since(began), (2*rounds+2)*(takes+takes/8))

		acquire("the last of the crowd")
		for i := range 3 {
			began = time.Now()
			acquire(fmt.Sprint(i))
			require.Equal(t, takes, time.Since(began))
		}
	})
}

// What has taken effect is confirmed before the engine ends.
func TestClosingConfirms(t *testing.T) {
	runShared(t, func(t *testing.T, s *system, _ func() int) {
		s.acquire(lock.Request{Resource: "r", Owner: "a", Expire: time.Hour}).is(lock.Granted)
		s.store.hold()
		s.show("r").pending()
		shown := s.show("r")
		closed := make(chan error)
		go func() { closed <- s.Close(context.Background()) }()
		shown.pending()
		s.store.free()
		require.NoError(t, <-closed)
		shown.is(lock.Found)
	})
}
