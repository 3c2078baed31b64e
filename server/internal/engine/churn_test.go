package engine_test

import (
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// TestChurn has clients acquire, go away, come again, be cancelled and release at the same time. Nobody is ever inside with another,
// nothing is answered twice, and nothing is left behind.
func TestChurn(t *testing.T) {
	const clients, rounds, resources = 16, 300, 4
	run(t, func(t *testing.T, s *system) {
		s.store.takes = 50 * time.Microsecond
		var inside [resources]atomic.Int32
		var entered atomic.Int64
		var wg sync.WaitGroup
		for i := range clients {
			wg.Go(func() {
				rng := rand.New(rand.NewPCG(uint64(i), 2))
				for n := range rounds {
					r := rng.IntN(resources)
					req := lock.Request{Resource: fmt.Sprint(r), Owner: fmt.Sprintf("%d-%d", i, n), Wait: time.Minute}
					if rng.IntN(2) == 0 {
						req.ID = "id"
					}
					if rng.IntN(2) == 0 {
						req.Wait = time.Duration(rng.IntN(3000)) * time.Microsecond
					}
					got := s.visit(rng, req)
					if got.Code != lock.Granted {
						continue
					}
					if inside[r].Add(1) != 1 {
						t.Error("two inside at once")
					}
					entered.Add(1)
					time.Sleep(time.Duration(rng.IntN(100)) * time.Microsecond)
					inside[r].Add(-1)
					ref := lock.Ref{Resource: req.Resource, Owner: req.Owner, Token: got.Token}
					if code := s.await(func(c *call) { s.Release(&ref, lock.Reply{To: c}) }).Code; code != lock.Released {
						t.Errorf("release: code %d", code)
					}
				}
			})
		}
		wg.Wait()
		require.Greater(t, entered.Load(), int64(clients*rounds/8), "too little happened to tell anything")
		time.Sleep(lock.PlaceKept)
		synctest.Wait() // what ends at this very moment has ended
		stats := s.Stats()
		require.Zero(t, stats.Grants)
		require.Zero(t, stats.Waiters)
		require.NotZero(t, stats.Events[lock.EventHandedBack])
		require.NotZero(t, stats.Left[lock.WhyGone])
		require.NotZero(t, stats.Left[lock.WhyCancelled])
		require.NotZero(t, stats.Left[lock.WhyTimedOut])
	})
}

// visit asks for a grant once or more, as clients do that lose their connection now and then, or think better of it.
func (s *system) visit(rng *rand.Rand, req lock.Request) lock.Answer {
	c := &call{t: s.t, came: make(chan struct{})}
	ticket := s.Acquire(&req, lock.Reply{To: c})
	patience := time.Duration(rng.IntN(1500)) * time.Microsecond
	if rng.IntN(3) > 0 {
		patience = time.Hour
	}
	select {
	case <-c.came:
		if rng.IntN(8) > 0 {
			return *c.answer
		}
	case <-time.After(patience):
	}
	// The connection broke, before the answer or while it was written.
	s.Leave(ticket)
	if req.ID == "" {
		return lock.Answer{}
	}
	switch rng.IntN(3) {
	case 0:
		return s.visit(rng, req)
	case 1:
		ref := lock.Ref{Resource: req.Resource, Owner: req.Owner, ID: req.ID}
		s.await(func(c *call) { s.Release(&ref, lock.Reply{To: c}) })
	}
	return lock.Answer{}
}

// await waits for the answer of an operation.
func (s *system) await(start func(c *call)) lock.Answer {
	c := &call{t: s.t, came: make(chan struct{})}
	start(c)
	<-c.came
	return *c.answer
}
