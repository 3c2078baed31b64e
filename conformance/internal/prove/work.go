package prove

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// client is one that takes locks.
type client interface {
	acquire(ctx context.Context, l *lease)
	release(ctx context.Context, l *lease, op *Op)
	renew(ctx context.Context, l *lease, op *Op)
	close()
}

// lease is an acquisition of a client.
type lease struct {
	op      Op // that asked for it
	held    bool
	name    string  // in the driver
	timeout float64 // of the acquire; 0: none
	over    int64   // when no SDK may trust it any more, if nobody renews it; 0: never
}

// then begins another operation on the lease.
func (l *lease) then(kind string) *Op {
	return &Op{Client: l.op.Client, Kind: kind, Resource: l.op.Resource, Mode: l.op.Mode, Token: l.op.Token, ID: l.op.ID, Lease: l.op.Lease, Kept: l.op.Kept}
}

// extends says that the lease is as long again from a moment on.
func (l *lease) extends(from int64, length float64) {
	if length > 0 {
		l.over = max(l.over, from+safely(length))
	}
}

// worker takes locks, one after the other.
type worker struct {
	name   string
	client client
	rand   *rand.Rand
	h      *history
	starts *atomic.Int64 // of servers
	terms  bool          // servers also take over from each other, and then ids are forgotten without a start
	paused func() int64  // when the client's process was let go on last
}

// resources are those of a round.
type resources struct {
	names []string
	modes []mode
	hot   int // so many are wanted by all
}

// newResources are locks of every kind, a few that all want and many that few want.
func newResources(round string) (r resources) {
	add := func(n int, m mode) {
		for range n {
			r.names = append(r.names, fmt.Sprintf("%s-%d", round, len(r.names)))
			r.modes = append(r.modes, m)
		}
	}
	add(3, mode{})
	add(1, mode{Shared: true})
	add(1, mode{Limit: 2})
	r.hot = len(r.names)
	add(80, mode{})
	add(20, mode{Shared: true})
	add(10, mode{Limit: 2})
	add(10, mode{Limit: 3})
	return r
}

// work takes and releases locks until the round is over. What it returns is held beyond that.
func (w *worker) work(ctx context.Context, round string, r resources, over <-chan struct{}) (kept []*lease) {
	kept = append(kept, w.keep(ctx, round+"-held-"))
	for n := 0; ; n++ {
		select {
		case <-over:
			return append(kept, w.keep(ctx, round+"-kept-"))
		case <-ctx.Done():
			return kept
		default:
		}
		i := w.rand.IntN(len(r.names))
		if w.rand.IntN(6) == 0 {
			i = w.rand.IntN(r.hot)
		}
		m := r.modes[i]
		if m.Shared && w.rand.IntN(3) == 0 {
			m.Shared = false // a writer
		}
		l := &lease{op: Op{Client: w.name, Kind: acquire, Resource: r.names[i], Mode: m, Wait: w.rand.IntN(4) > 0}}
		w.choose(l)
		w.h.timed(&l.op, func() { w.client.acquire(ctx, l) })
		if l.held {
			l.extends(l.op.Return, l.op.Lease)
			w.hold(ctx, l)
		}
	}
}

// choose gives an acquisition its lease and its limit.
func (w *worker) choose(l *lease) {
	_, isSDK := w.client.(*sdk)
	switch n := w.rand.IntN(20); {
	case n < 10:
		l.op.Lease = 60
	case n < 13:
		l.op.Lease = 1.5
	case n < 16 && isSDK:
		l.op.Lease, l.op.Kept = 1.5, true
	}
	if isSDK && l.op.Wait && w.rand.IntN(5) == 0 {
		// A cancel may come to nothing while the server cannot be reached, and only a lease ends by itself.
		l.timeout, l.op.Lease, l.op.Kept = 0.02+w.rand.Float64(), 1.5, false
	}
}

// hold does what holders do, and lets the lock go.
func (w *worker) hold(ctx context.Context, l *lease) {
	switch n := w.rand.IntN(100); {
	case n < 60:
	case n < 98:
		pause(ctx, time.Duration(w.rand.IntN(20))*time.Millisecond)
	default:
		pause(ctx, time.Duration(w.rand.IntN(1000))*time.Millisecond)
	}
	if c, ok := w.client.(*sdk); ok && w.rand.IntN(2) == 0 {
		w.trust(ctx, c, l)
	}
	if c, ok := w.client.(*raw); ok && w.rand.IntN(4) == 0 {
		op := l.then(show)
		op.Token = 0
		w.h.timed(op, func() { c.show(ctx, op) })
	}
	if l.op.Lease > 0 && !l.op.Kept && w.rand.IntN(10) == 0 {
		op := l.then(renew)
		w.h.timed(op, func() { w.client.renew(ctx, l, op) })
		if op.Outcome == renewed || op.Outcome == failed { // it may have been renewed
			l.extends(op.Return, l.op.Lease)
		}
		if op.Outcome != renewed {
			l.op.Note = renewed // nobody knows how long it is
		}
	}
	if l.op.Lease > 0 && l.op.Lease < 3 && !l.op.Kept && w.rand.IntN(8) == 0 {
		w.abandon(ctx, l)
		return
	}
	w.letGo(ctx, l)
}

func (w *worker) letGo(ctx context.Context, l *lease) {
	op := l.then(release)
	w.h.timed(op, func() { w.client.release(ctx, l, op) })
	for op.Outcome == unsure && l.held && ctx.Err() == nil {
		// An SDK gives up after a while. What it calls released the next time may have been so before.
		op = l.then(release)
		w.h.timed(op, func() {
			if w.client.release(ctx, l, op); op.Outcome == released {
				op.Outcome = ended
			}
		})
	}
	c, ok := w.client.(*raw)
	if !ok || op.Outcome != released || op.Tries > 1 || w.rand.IntN(20) > 0 {
		return
	}
	// A copy of the request that comes late.
	starts, late := w.starts.Load(), l.then(again)
	late.Token = 0
	w.h.timed(late, func() { c.request(ctx, late) })
	if late.Outcome != granted {
		return
	}
	if w.starts.Load() == starts && !w.terms {
		w.h.violation("an id that was released is not granted again", l.op.Resource, fmt.Sprintf("%s got %d by the id of %d", w.name, late.Token, l.op.Token))
	}
	free := l.then(release)
	free.Token = late.Token
	w.h.timed(free, func() { c.release(ctx, l, free) })
}

// trust asks an SDK whether it trusts a lease, which it must not do for too long.
func (w *worker) trust(ctx context.Context, c *sdk, l *lease) (outcome string) {
	op := l.then(check)
	w.h.timed(op, func() { c.trust(ctx, l, op) })
	if op.Outcome == trusted && !op.Kept && l.over > 0 && op.Call > l.over {
		w.h.violation("a loss is told no later than the safe deadline", op.Resource,
			fmt.Sprintf("%s trusts %d at %s, and its lease was over at %s", w.name, op.Token, at(op.Call), at(l.over)))
	}
	return op.Outcome
}

// abandon lets a lease run out.
func (w *worker) abandon(ctx context.Context, l *lease) {
	c, ok := w.client.(*sdk)
	if !ok {
		return // others find out when it is over
	}
	told := l.then(watch)
	w.h.timed(told, func() { c.told(ctx, l, told) })
	// The process may have been stopped meanwhile, and the machine have other things to do.
	if late := told.Return - max(l.over, w.paused()) - int64(slack); told.Outcome == lost && late > 0 && len(w.h.during(l.over, told.Return, "machine")) == 0 {
		w.h.violation("a loss is told no later than the safe deadline", l.op.Resource,
			fmt.Sprintf("%s was told at %s, and its lease was over at %s", w.name, at(told.Return), at(l.over)))
	}
	if outcome := w.trust(ctx, c, l); outcome == trusted {
		w.h.violation("a loss is final", l.op.Resource, fmt.Sprintf("%s was told that %d was lost, and then trusts it", w.name, l.op.Token))
	}
	w.letGo(ctx, l)
}

// keep takes a lock of its own, which is held when all is quiet, whatever happens until then.
func (w *worker) keep(ctx context.Context, prefix string) *lease {
	l := &lease{op: Op{Client: w.name, Kind: acquire, Resource: prefix + w.name, Wait: true, Lease: []float64{0, 600}[w.rand.IntN(2)]}}
	w.h.timed(&l.op, func() { w.client.acquire(ctx, l) })
	return l
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// round lets all work for so long, ends the faults, and checks that then just what clients hold is held.
func (r *run) round(ctx context.Context, n int, length time.Duration) error {
	name := fmt.Sprintf("r%d", n)
	over := make(chan struct{})
	faults := r.faults(ctx, n, length)
	var group sync.WaitGroup
	kept := make([][]*lease, len(r.workers))
	places := newResources(name)
	for i, w := range r.workers {
		group.Go(func() { kept[i] = w.work(ctx, name, places, over) })
	}
	err := faults()
	if err != nil {
		r.stop(err)
	}
	close(over)
	done := make(chan struct{})
	go func() { group.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(r.Drain):
		r.h.violation("every call ends", "", fmt.Sprintf("calls still wait %s after the last fault has ended", r.Drain))
		r.stop(errStuck)
		<-done
		return errStuck
	}
	if err != nil || ctx.Err() != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	if err := r.quiet(ctx, name, kept); err != nil || len(r.h.violations()) > 0 {
		return err // what follows might never end
	}
	if err := r.inCalm(ctx, n); err != nil {
		return err
	}
	for i, leases := range kept {
		for _, l := range leases {
			if l.held {
				r.workers[i].letGo(ctx, l)
			}
		}
	}
	return r.quiet(ctx, name, nil)
}
