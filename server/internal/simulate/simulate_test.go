package simulate_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

var (
	seeds   = flag.Uint64("seeds", 0, "run so many seeds; 0: as long as -for says")
	first   = flag.Uint64("seed", 0, "the first seed; 0: a new one")
	lasts   = flag.Duration("for", 3*time.Second, "how long to run new seeds")
	length  = flag.Int("steps", 1500, "steps of a seed")
	workers = flag.Int("workers", 2, "seeds that run at the same time")
)

// TestSimulate runs seeds until the time is over, or one fails.
func TestSimulate(t *testing.T) {
	from := *first
	if from == 0 {
		from = rand.Uint64() >> 20
	}
	var next, steps, lives atomic.Uint64
	var wg sync.WaitGroup
	var failed atomic.Pointer[plan]
	began := time.Now()
	for range *workers {
		wg.Go(func() {
			for failed.Load() == nil {
				n := next.Add(1) - 1
				if *seeds > 0 && n >= *seeds || *seeds == 0 && time.Since(began) >= *lasts {
					return
				}
				p := newPlan(from+n, *length)
				done, v := run(p, nil)
				steps.Add(uint64(done))
				lives.Add(1)
				if v != nil {
					failed.CompareAndSwap(nil, p)
				}
			}
		})
	}
	wg.Wait()
	took := time.Since(began)
	t.Logf("%d seeds from %d, %d steps in %v: %.1f million steps a minute", lives.Load(), from, steps.Load(), took.Round(time.Millisecond),
		float64(steps.Load())/took.Minutes()/1e6)
	if p := failed.Load(); p != nil {
		t.Error(report(p))
	}
}

// report says how a plan fails, with the fewest steps.
func report(p *plan) string {
	_, v := run(p, nil)
	if v == nil {
		return fmt.Sprintf("seed %d failed once, and not again: the simulator is not deterministic", p.seed)
	}
	small, last := shrink(p, 3000)
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d: %s\n", p.seed, v)
	fmt.Fprintf(&b, "replay: make simulate SEED=%d SEEDS=1 STEPS=%d\n", p.seed, len(p.steps))
	fmt.Fprintf(&b, "with the fewest steps found, %d, on %s: %s\n", len(small.steps), small.kind, last.what)
	run(small, func(format string, args ...any) { fmt.Fprintf(&b, format+"\n", args...) })
	return b.String()
}

// The same seed does the same, step by step.
func TestSeedReplays(t *testing.T) {
	for seed := range uint64(20) {
		var once, again strings.Builder
		run(newPlan(seed+1, *length), func(format string, args ...any) { fmt.Fprintf(&once, format+"\n", args...) })
		run(newPlan(seed+1, *length), func(format string, args ...any) { fmt.Fprintf(&again, format+"\n", args...) })
		if once.String() != again.String() {
			t.Fatalf("seed %d does not replay", seed+1)
		}
	}
}

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(m.Run())
}
