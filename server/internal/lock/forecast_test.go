package lock_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// ask asks for a lock without waiting, and returns what a refusal tells.
func (s *scene) ask(req lock.Request) *lock.Detail {
	a := answers{}
	s.Acquire(s.now, &req, lock.Reply{To: a, N: 1})
	for i := range s.effects.Answers {
		if s.Settle(s.now, &s.effects.Answers[i]) {
			s.effects.Answers[i].Send(&s.effects.Answers[i].Answer)
		}
	}
	s.effects = lock.Effects{}
	return a[1].Detail
}

func (s *scene) look(resource string) *lock.Detail {
	a := answers{}
	s.Show(s.now, resource, lock.Reply{To: a, N: 1})
	a[1] = s.effects.Answers[len(s.effects.Answers)-1].Answer
	s.effects = lock.Effects{}
	return a[1].Detail
}

// hold has the resource held for these times, one after the other.
func (s *scene) hold(resource string, lengths ...time.Duration) {
	for _, d := range lengths {
		s.acquire(resource, "before")
		s.after(d).release(resource, "before")
	}
}

func about(t *testing.T, want, got time.Duration) {
	t.Helper()
	require.InDelta(t, want, got, float64(want)/4)
}

func TestTheWaitIsEstimatedFromTheLastHolds(t *testing.T) {
	s := newScene()
	s.acquire("new", "a")
	s.acquire("new", "b")
	require.Equal(t, lock.Estimate{}, s.ask(lock.Request{Resource: "new", Owner: "c"}).Estimate)
	require.Equal(t, lock.Estimate{}, s.look("new").Held)

	const m = time.Minute
	s.hold("r", 10*m, 10*m, 10*m, 20*m, 100*m)
	s.acquire("r", "a")
	require.Equal(t, lock.Estimate{}, s.ask(lock.Request{Resource: "r", Owner: "b"}).Estimate, "nobody waits")
	now := s.look("r")
	require.Equal(t, 5, now.Held.Holds)
	about(t, 10*m, now.Held.P50)
	about(t, 100*m, now.Held.P90)
	require.Equal(t, now.Held, now.Estimate)
	s.after(15 * m)
	about(t, 100*m-15*m, s.look("r").Estimate.P50) // of the two that took longer

	s.acquire("r", "b")
	s.acquire("r", "c")
	e := s.ask(lock.Request{Resource: "r", Owner: "d"})
	require.Len(t, e.Ahead, 2)
	require.Equal(t, "b", e.Ahead[0].Owner)
	about(t, 85*m, e.Ahead[0].Estimate.P50)
	about(t, 85*m+10*m, e.Ahead[1].Estimate.P50)
	about(t, 85*m+20*m, e.Estimate.P50)
	about(t, 85*m+200*m, e.Estimate.P90)
	require.Equal(t, 5, e.Estimate.Holds)

	s.after(200 * m)
	late := s.look("r")
	require.Equal(t, lock.Estimate{}, late.Estimate, "it was never held that long")
	require.Equal(t, 5, late.Held.Holds)
	require.Equal(t, lock.Estimate{}, late.Queue[0].Estimate)
}

func TestEstimatesByKind(t *testing.T) {
	const m = time.Minute
	s := newScene()
	request := func(resource, owner string, mode lock.Mode, limit int32, wait time.Duration) lock.Request {
		return lock.Request{Resource: resource, Owner: owner, Mode: mode, Limit: limit, Wait: wait}
	}
	s.hold("rw", 10*m)
	s.acquire("rw", "w")
	for _, owner := range []string{"r1", "r2", "r3"} {
		s.ask(request("rw", owner, lock.Shared, 0, 10*m))
	}
	about(t, 10*m, s.ask(request("rw", "r4", lock.Shared, 0, 0)).Estimate.P50) // with the other readers
	about(t, 20*m, s.ask(request("rw", "w2", lock.Exclusive, 0, 0)).Estimate.P50)

	for range 4 {
		s.ask(request("s", "x", lock.Semaphore, 4, 0))
	}
	s.after(10 * m)
	for s.look("s") != nil {
		s.ForceRelease(s.now, &lock.ForceRelease{Resource: "s"}, 10, lock.Reply{To: nowhere{}})
		s.settle()
	}
	for range 4 {
		s.ask(request("s", "x", lock.Semaphore, 4, 0))
	}
	for range 20 {
		s.ask(request("s", "y", lock.Semaphore, 4, 10*m))
	}
	e := s.ask(request("s", "z", lock.Semaphore, 4, 0))
	require.Len(t, e.Ahead, 10)
	about(t, 10*m+5*10*m, e.Estimate.P50) // four at a time
	about(t, 10*m+5*10*m, s.look("s").Estimate.P50)
}

// Of many resources the holds of most are known, and those of one are never taken for another's.
func TestHoldsAreRememberedByResource(t *testing.T) {
	s := newScene()
	s.hold("a", time.Second)
	s.hold("b", time.Hour)
	s.acquire("a", "x")
	s.acquire("b", "x")
	about(t, time.Second, s.look("a").Held.P50)
	about(t, time.Hour, s.look("b").Held.P50)
	for range 100 {
		s.hold("c", time.Minute)
	}
	s.acquire("c", "x")
	require.Equal(t, 24, s.look("c").Held.Holds)
}
