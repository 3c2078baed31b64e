package lock_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// What a spread tells is at most a quarter above the quantile itself, or 17 µs, and never below it.
func TestASpreadTellsQuantiles(t *testing.T) {
	for _, longest := range []time.Duration{time.Microsecond, 100 * time.Microsecond, time.Second, 10 * time.Hour} {
		var s lock.Spread
		all := make([]time.Duration, 1000)
		for i := range all {
			all[i] = rand.N(longest)
			s.Observe(all[i])
		}
		slices.Sort(all)
		require.Equal(t, 1000, s.Count())
		for _, q := range []float64{0, .5, .9, .99} {
			exact := all[int(q*1000)]
			require.GreaterOrEqual(t, s.Quantile(q), exact, "%v %v", longest, q)
			require.LessOrEqual(t, s.Quantile(q), exact+exact/4+17*time.Microsecond, "%v %v", longest, q)
		}
		require.Equal(t, all[999], s.Quantile(1))
	}
	var s lock.Spread
	require.Zero(t, s.Quantile(.5))
	s.Observe(100 * time.Hour)
	require.Equal(t, 100*time.Hour, s.Quantile(.5))
}

// scene is a table whose answers and changes nobody wants.
type scene struct {
	*lock.Table
	effects lock.Effects
	now     int64
}

func newScene() *scene {
	s := &scene{now: int64(time.Second)}
	s.Table = lock.New(lock.Bounds{MaxLocks: 1e6, MaxWaiters: 1e6, MaxRemembered: 1000, MaxWait: 1000 * time.Hour}, 100, &s.effects)
	return s
}

func (s *scene) after(d time.Duration) *scene { s.now += int64(d); return s }

func (s *scene) acquire(resource, owner string) {
	s.Acquire(s.now, &lock.Request{Resource: resource, Owner: owner, Wait: 1000 * time.Hour}, lock.Reply{To: nowhere{}})
	s.settle()
}

func (s *scene) release(resource, owner string) {
	s.Release(s.now, &lock.Ref{Resource: resource, Owner: owner}, lock.Reply{To: nowhere{}})
	s.settle()
}

func (s *scene) settle() {
	for i := range s.effects.Answers {
		s.Settle(s.now, &s.effects.Answers[i])
	}
	s.effects = lock.Effects{}
}

func TestContentionIsTold(t *testing.T) {
	s := newScene()
	s.acquire("alone", "a")
	s.after(time.Second).release("alone", "a")
	require.Empty(t, s.Contended(10), "nobody has waited")

	s.acquire("busy", "a")
	s.acquire("busy", "b")
	s.after(time.Second).acquire("busy", "c")
	s.after(time.Second).release("busy", "a")
	s.after(4*time.Second).release("busy", "b")
	s.after(time.Second).release("busy", "c")
	s.acquire("less", "a")
	s.acquire("less", "b")

	told := s.Contended(10)
	require.Len(t, told, 2)
	busy := told[0]
	require.Equal(t, "busy", busy.Resource)
	require.EqualValues(t, 2, busy.Waits)
	require.EqualValues(t, 2, busy.HandOffs)
	require.Equal(t, 3, busy.Holds)
	require.InEpsilon(t, 5*time.Second, busy.Wait99, .25)
	require.InEpsilon(t, 2*time.Second, busy.Hold50, .25)
	require.Equal(t, 4*time.Second, busy.Hold99)
	require.Zero(t, busy.Waiters+busy.Holders)
	require.Equal(t, lock.Contended{Resource: "less", Waits: 1, Waiters: 1, Holders: 1}, told[1])
	require.Len(t, s.Contended(1), 1)

	// It outlives its resource.
	s.acquire("busy", "a")
	s.acquire("busy", "b")
	require.EqualValues(t, 3, s.Contended(1)[0].Waits)
}

// Those with the fewest waits are forgotten, even while somebody waits there, and begin anew with the next who waits.
func TestTheContentionKeptIsBounded(t *testing.T) {
	s := newScene()
	for range 3 {
		s.acquire("most", "a")
		s.acquire("most", "b")
		s.release("most", "a")
		s.release("most", "b")
	}
	s.acquire("zz", "a") // the last in the order of names
	s.acquire("zz", "b")
	most := 0
	for i := range 5000 {
		name := fmt.Sprint("r", i)
		s.acquire(name, "a")
		s.acquire(name, "b")
		s.release(name, "a")
		s.release(name, "b")
		most = max(most, len(s.Contended(10_000)))
	}
	require.LessOrEqual(t, most, 2048)
	told := s.Contended(10_000)
	require.Equal(t, "most", told[0].Resource)
	require.EqualValues(t, 3, told[0].Waits)
	require.False(t, slices.ContainsFunc(told, func(c lock.Contended) bool { return c.Resource == "zz" }))
	s.release("zz", "a")
	s.acquire("zz", "c")
	i := slices.IndexFunc(s.Contended(10_000), func(c lock.Contended) bool { return c.Resource == "zz" })
	require.Equal(t, lock.Contended{Resource: "zz", Waits: 1, Waiters: 1, Holders: 1}, s.Contended(10_000)[i])
}

func TestASurveyFindsTheDeepestAndTheLongest(t *testing.T) {
	s := newScene()
	s.acquire("old", "a")
	s.after(time.Second).acquire("deep", "a")
	for range 3 {
		s.after(time.Second).acquire("deep", "b")
	}
	s.acquire("one", "a")
	s.acquire("one", "b")
	for i := range 100 {
		s.acquire(fmt.Sprint(i), "a")
	}
	x := s.Survey()
	for done := false; !done; done = s.StepSurvey(s.now, x, 10) {
		s.release("one", "a") // resources may go while it is under way
		s.release("one", "b")
	}
	s.EndSurvey(x)
	require.Equal(t, 3, x.Deepest)
	require.Equal(t, 2*time.Second, x.Wait)
	require.Equal(t, 4*time.Second, x.Hold)

	x = newScene().Survey()
	require.True(t, s.StepSurvey(s.now, x, 1))
	require.Zero(t, x.Deepest)
}

func TestAHistogramTellsQuantiles(t *testing.T) {
	var h lock.Histogram
	require.Zero(t, h.Quantile(.5))
	h.Observe(time.Minute)
	before := h
	for range 100 {
		h.Observe(2 * time.Second)
	}
	d := h.Since(&before)
	require.EqualValues(t, 100, d.N())
	require.Equal(t, 200*time.Second, d.Sum)
	require.InDelta(t, 2*time.Second, d.Quantile(.5), float64(time.Second))
	require.Greater(t, d.Quantile(.99), d.Quantile(.5))
	d.Observe(10 * time.Hour)
	require.Equal(t, time.Hour, d.Quantile(1), "the longest that it knows")
}
