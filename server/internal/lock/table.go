package lock

import (
	"fmt"
	"time"
)

// Bounds limit what a table holds.
type Bounds struct {
	MaxLocks      int           // grants held at once
	MaxWaiters    int           // places in all queues, kept ones included
	MaxRemembered int           // acquisitions that have ended and are remembered
	MaxWait       time.Duration // caps Request.Wait, unless it is Uncapped
	MaxHold       time.Duration // the longest that a lock may be held, however often it is renewed; 0 for no such bound
	StuckAfter    time.Duration // a holder is stuck once it has held a lock for that long while others waited as long; 0 means never
}

// PlaceKept is how long the place of an absent waiter, or a grant whose answer was lost, is kept for the next request with its ID.
const PlaceKept = 10 * time.Second

// shortest is the least time left that an answer can tell. A lease with less counts as expired before its answer.
const shortest = int64(time.Millisecond)

// opBudget is how many due claims an operation processes before its own work. It leaves the rest to Advance.
const opBudget = 64

// Table holds all locks. Times are in nanoseconds, above 0, of a clock that never goes back.
type Table struct {
	bounds    Bounds
	resources map[string]*resource
	oldest    *resource // the resources are also a list, in the order of their creation
	newest    *resource
	walks     []*Walk
	contended map[string]*contention
	spare     []*contention
	timers    timers
	memory    memory
	habits    habits
	out       *Effects
	seq       uint64 // Seq of the newest change
	token     int64  // the newest token
	serial    int64  // counts created resources
	arrivals  int64  // counts requests for new claims
	draining  bool
	full      bool                // the store takes no grants
	heldBack  map[string]struct{} // resources with waiters that only that keeps waiting
	stats     Stats
	watched   [eventKinds]bool
}

// Effects are what operations and time bring about: changes to make durable, in order; the answers that depend on them; and events,
// which may be told once all changes are durable.
type Effects struct {
	Changes []Change
	Answers []Due
	Events  []Event // of the kinds that are watched
}

// Due is an answer that may leave once the change with the Seq After is durable. Settle makes it final.
type Due struct {
	Reply
	After  uint64
	Answer Answer

	kind     dueKind
	gen      uint32
	claim    *claim // unless dueFinal
	arrived  int64  // when the request arrived
	until    int64  // the end of its wait
	deadline int64  // when the grant ended by itself as the answer was made, or 0
	holdEnd  int64  // when no renewal helped any more, or 0
}

type dueKind uint8

const (
	dueFinal dueKind = iota
	dueGrant         // to an acquire
	dueRenew         // to a renewal
)

// New returns an empty table whose tokens start above lastToken.
func New(bounds Bounds, lastToken int64, out *Effects) *Table {
	return &Table{
		bounds: bounds, resources: map[string]*resource{}, contended: map[string]*contention{}, memory: newMemory(bounds.MaxRemembered), habits: newHabits(bounds.MaxRemembered), token: lastToken, out: out,
	}
}

// SetEffects makes out collect the effects from now on.
func (t *Table) SetEffects(out *Effects) { t.out = out }

// Restore puts back a grant that a store has kept. Its lease starts again, with its full length, and so does MaxHold. Restore fails if
// the grants of a resource exclude each other.
func (t *Table) Restore(now int64, rec *Record) error {
	r := t.resources[rec.Resource]
	if r == nil {
		r = t.create(rec.Resource)
		r.permits = rec.Limit
	}
	c := &claim{
		res: r, owner: rec.Owner, label: newLabel(rec.ID, rec.Note, int64(rec.Expire), int64(rec.Lease), int64(rec.MaxHold)), token: rec.Token,
		lease: int64(rec.Lease), timer: noTimer, permits: rec.Limit, mode: rec.Mode, told: 1 << forSure,
	}
	if r.otherKind(rec.Limit) || !r.admits(c) {
		return fmt.Errorf("grant %d can't be held beside the other grants of %q", rec.Token, rec.Resource)
	}
	t.hold(now, c)
	return nil
}

// Loaded ends the restoring. No token up to last is used again.
func (t *Table) Loaded(last int64) { t.token = max(t.token, last) }

// Next returns the earliest time at which Advance has something to do, or 0.
func (t *Table) Next() int64 { return t.timers.next() }

// Advance does what is due: it ends leases and waits, and gives up kept places. It stops after budget of them and reports whether
// there are more.
func (t *Table) Advance(now int64, budget int) (more bool) {
	for next := t.Next(); next != 0 && next <= now; next = t.Next() {
		if budget == 0 {
			return true
		}
		budget--
		t.elapse(now, t.timers[0].c)
	}
	return false
}

// at returns the resource as it is now, or nil. It has ended all expired leases of that resource, even if many others are due.
func (t *Table) at(now int64, name string) *resource {
	more := t.Advance(now, opBudget)
	r := t.resources[name]
	if r == nil || !more {
		return r
	}
	for c := r.holders.head; c != nil; {
		next := c.next
		if c.expired(now) {
			t.elapse(now, c)
		}
		c = next
	}
	return t.resources[name]
}

// elapse does to the claim what is due.
func (t *Table) elapse(now int64, c *claim) {
	switch {
	case c.state == held && c.expired(now):
		t.end(now, c, EventExpired)
	case c.state == held:
		t.end(now, c, EventHandedBack)
	case c.present() && t.timers[c.timer].at < c.deadline:
		t.armWaiter(now, c) // it was to look, and is due again
	case c.present():
		t.unpark(now, c, c.asks())
	default:
		t.forget(now, c, WhyPlaceLost)
	}
	t.done()
}

// arm sets the claim's timer to its due time.
func (t *Table) arm(c *claim) { t.timers.set(c, c.due()) }

func (t *Table) create(name string) *resource {
	t.serial++
	r := &resource{name: name, serial: t.serial, prev: t.newest}
	if t.newest == nil {
		t.oldest = r
	} else {
		t.newest.next = r
	}
	t.newest = r
	t.resources[name] = r
	return r
}

// drop removes the resource if nobody holds it or waits for it.
func (t *Table) drop(r *resource) {
	if r.holders.n > 0 || r.waiters() > 0 {
		return
	}
	for _, w := range t.walks {
		if w.at == r {
			w.at = r.next
		}
	}
	if r.prev == nil {
		t.oldest = r.next
	} else {
		r.prev.next = r.next
	}
	if r.next == nil {
		t.newest = r.prev
	} else {
		r.next.prev = r.prev
	}
	r.prev, r.next = nil, nil // whatever still refers to r must not keep its former neighbours alive
	delete(t.resources, r.name)
}

// change records a step for the store.
func (t *Table) change(r *resource, del bool, rec Record) {
	t.seq++
	r.changed = t.seq
	t.out.Changes = append(t.out.Changes, Change{Seq: t.seq, Delete: del, Record: rec})
}

// done ends an operation, whose changes become durable together.
func (t *Table) done() {
	if n := len(t.out.Changes); n > 0 {
		t.out.Changes[n-1].Last = true
	}
}

// answer queues a final answer about r, which may be nil. It depends on the newest change of r. A resource that is gone keeps no
// trace of its own, so an answer about it waits for the newest change of all.
func (t *Table) answer(to Reply, r *resource, a Answer) {
	after := t.seq
	if r != nil {
		after = r.changed
	}
	t.out.Answers = append(t.out.Answers, Due{Reply: to, After: after, Answer: a})
}

// promise queues an answer with the claim's grant. Settle looks whether it still holds.
func (t *Table) promise(kind dueKind, c *claim, to Reply, arrived, until int64) {
	t.out.Answers = append(t.out.Answers, Due{
		Reply: to, After: c.res.changed, kind: kind, gen: c.gen, claim: c, arrived: arrived, until: until, deadline: c.ends(), holdEnd: c.holdEnd(),
		Answer: Answer{Code: Granted, Mode: c.mode, Limit: c.permits, Token: c.token, ID: c.id, YieldTo: c.askedToYield()},
	})
}
