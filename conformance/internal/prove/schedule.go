package prove

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

// fault is one thing that goes wrong, at a moment of a round and for a time.
type fault struct {
	kind   string
	round  uint64
	at     time.Duration
	length time.Duration
	target int // which one of those that can have it
	degree int // 0–99
}

func (f fault) String() string {
	return fmt.Sprintf("%s %s #%d/%d for %s", f.at.Round(time.Millisecond), f.kind, f.target, f.degree, f.length.Round(time.Millisecond))
}

// kind of fault: how often it comes, how long it lasts, and what makes it happen. do returns when it is over.
type kind struct {
	name   string
	weight int
	least  time.Duration
	most   time.Duration
	do     func(ctx context.Context, f fault) error
}

// plan makes the faults of one lane of a round: one after the other, with pauses.
func plan(seed, round, lane uint64, kinds []kind, length time.Duration) (all []fault) {
	random := rand.New(rand.NewPCG(seed, round<<8|lane)) //nolint:gosec // it is to be the same again
	between := func(least, most time.Duration) time.Duration {
		return least + time.Duration(random.Int64N(int64(most-least)+1))
	}
	weights := 0
	for _, k := range kinds {
		weights += k.weight
	}
	if weights == 0 {
		return nil
	}
	for at := between(100*time.Millisecond, time.Second); ; {
		n := random.IntN(weights)
		i := 0
		for ; n >= kinds[i].weight; i++ {
			n -= kinds[i].weight
		}
		f := fault{kind: kinds[i].name, round: round, at: at, length: between(kinds[i].least, kinds[i].most), target: random.IntN(1 << 20), degree: random.IntN(100)}
		if f.at+f.length > length {
			return all
		}
		all = append(all, f)
		at += f.length + between(200*time.Millisecond, 1200*time.Millisecond)
	}
}

// faults prints the plan of a round; what it returns makes it happen, and returns when the round is over.
func (r *run) faults(ctx context.Context, round int, length time.Duration) func() error {
	plans := make([][]fault, len(r.lanes))
	for i, lane := range r.lanes {
		plans[i] = plan(r.Seed, uint64(round), uint64(i), lane, length)
		for _, f := range plans[i] {
			r.logf("  %s", f)
		}
	}
	began := time.Now()
	return func() error {
		errs := make([]error, len(plans))
		var group sync.WaitGroup
		for i, faults := range plans {
			group.Go(func() {
				for _, f := range faults {
					pause(ctx, time.Until(began.Add(f.at)))
					if ctx.Err() != nil {
						return
					}
					from := r.h.now()
					if errs[i] = r.happen(ctx, r.lanes[i], f); errs[i] != nil {
						errs[i] = fmt.Errorf("%s: %w", f, errs[i])
						return
					}
					r.h.event(f.kind, from, r.h.now())
				}
			})
		}
		group.Go(func() { pause(ctx, time.Until(began.Add(length))) })
		group.Wait()
		return errors.Join(errs...)
	}
}

// inCalm makes the faults happen that need all to be at rest.
func (r *run) inCalm(ctx context.Context, round int) error {
	for _, k := range r.calm {
		r.logf("  then %s", k.name)
		from := r.h.now()
		f := fault{kind: k.name, round: uint64(round), length: 10 * time.Second}
		if err := r.happen(ctx, r.calm, f); err != nil {
			return fmt.Errorf("%s: %w", f, err)
		}
		r.h.event(f.kind, from, r.h.now())
	}
	return nil
}

func (r *run) happen(ctx context.Context, lane []kind, f fault) error {
	for _, k := range lane {
		if k.name == f.kind {
			r.happened[k.name].Add(1)
			return k.do(ctx, f)
		}
	}
	return nil
}
