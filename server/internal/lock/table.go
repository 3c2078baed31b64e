package lock

import (
	"fmt"
	"time"
)

// Bounds bound what a table holds.
type Bounds struct {
	MaxLocks      int           // grants held at once
	MaxWaiters    int           // places in all queues together, kept ones included
	MaxRemembered int           // ended ids and tokens remembered
	MaxWait       time.Duration // caps Request.Wait, unless it is Uncapped
}

// PlaceKept is how long a place in the queue, or an undeliverable grant with an id, waits for the next request with that id.
const PlaceKept = 10 * time.Second

// shortest is the least time left that an answer can tell; a lease with less counts as run out before its answer.
const shortest = int64(time.Millisecond)

// slice is how many due claims an operation works off before its own work. Where more are due, the rest is left to Advance.
const slice = 64

// Table holds all locks. Times are nanoseconds of a clock that never goes back, greater than 0.
type Table struct {
	bounds    Bounds
	resources map[string]*resource
	oldest    *resource // the list of resources, in the order of creation
	newest    *resource
	walks     []*Walk
	timers    timers
	memory    memory
	out       *Effects
	seq       uint64 // Seq of the newest change
	token     int64  // the newest token
	serial    int64  // counts created resources
	arrivals  int64  // counts requests that got a claim
	draining  bool
	stats     Stats
	watched   [eventKinds]bool
}

// Effects is what operations and time brought about: changes to make durable, in order, the answers that rest on them, and events,
// which may be told once all changes before them are durable.
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
	arrived  int64  // of the request
	until    int64  // the end of its wait
	deadline int64  // of the lease, as what the answer rests on keeps it; 0: none
}

type dueKind uint8

const (
	dueFinal dueKind = iota
	dueGrant         // to an acquire: look again whether it is still so
	dueRenew         // to a renewal: compute the time left
)

// New returns an empty table whose tokens start above lastToken.
func New(bounds Bounds, lastToken int64, out *Effects) *Table {
	return &Table{
		bounds: bounds, resources: map[string]*resource{}, memory: newMemory(bounds.MaxRemembered), token: lastToken, out: out,
	}
}

// SetEffects makes out collect the effects from now on.
func (t *Table) SetEffects(out *Effects) { t.out = out }

// Restore puts back a grant that a store kept. Its lease gets its full length again, counted from now. It fails where the grants
// of a resource exclude each other.
func (t *Table) Restore(now int64, rec *Record) error {
	r := t.resources[rec.Resource]
	if r == nil {
		r = t.create(rec.Resource)
		r.permits = rec.Limit
	}
	c := &claim{
		res: r, owner: rec.Owner, label: newLabel(rec.ID, rec.Note, int64(rec.Expire), int64(rec.Lease)), token: rec.Token,
		lease: int64(rec.Lease), since: now, timer: noTimer, permits: rec.Limit, mode: rec.Mode, state: held,
	}
	if r.otherKind(rec.Limit) || !r.admits(c) {
		return fmt.Errorf("grant %d can't be held beside the other grants of %q", rec.Token, rec.Resource)
	}
	if c.lease > 0 {
		c.deadline = now + c.lease
	}
	r.holders.push(c)
	r.index.named(c)
	r.index.granted(c)
	r.reindex()
	t.stats.Grants++
	t.arm(c)
	return nil
}

// Loaded ends the restoring: no token up to last is used again.
func (t *Table) Loaded(last int64) { t.token = max(t.token, last) }

// newLabel returns nil where there is nothing to say.
func newLabel(id, note string, expire, lease int64) *label {
	if id == "" && note == "" && expire == lease {
		return nil
	}
	return &label{id: id, note: note, expire: expire}
}

// Next is the earliest time at which Advance has something to do; 0: never.
func (t *Table) Next() int64 { return t.timers.next() }

// Advance does what time brings: ends leases and waits, gives up kept places. It stops after budget of them and says whether
// there are more.
func (t *Table) Advance(now int64, budget int) (more bool) {
	for next := t.Next(); next != 0 && next <= now; next = t.Next() {
		if budget == 0 {
			return true
		}
		budget--
		t.elapse(now, t.timers[0].c)
		t.done()
	}
	return false
}

// at returns the resource as it is now, or nil. Its own leases that ran out are ended, however many others are due.
func (t *Table) at(now int64, name string) *resource {
	more := t.Advance(now, slice)
	r := t.resources[name]
	if r == nil || !more {
		return r
	}
	for c := r.holders.head; c != nil; {
		next := c.next
		if c.ranOut(now) {
			t.elapse(now, c)
			t.done()
		}
		c = next
	}
	return t.resources[name]
}

// elapse does what the claim's due time brings.
func (t *Table) elapse(now int64, c *claim) {
	switch {
	case c.state == held && c.ranOut(now):
		t.end(now, c, EventExpired)
	case c.state == held:
		t.end(now, c, EventHandedBack)
	case c.parked != nil:
		t.unpark(now, c, *c.parked)
	default:
		t.forget(now, c, WhyPlaceLost)
	}
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

// drop removes the resource if nothing is left of it.
func (t *Table) drop(r *resource) {
	if !r.empty() {
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
	r.prev, r.next = nil, nil // what still knows r must not keep alive what comes and goes after it
	delete(t.resources, r.name)
}

// change records a step for the store.
func (t *Table) change(r *resource, del bool, rec Record) {
	t.seq++
	r.changed = t.seq
	t.out.Changes = append(t.out.Changes, Change{Seq: t.seq, Delete: del, Record: rec})
}

// done ends an operation: its changes become durable together.
func (t *Table) done() {
	if n := len(t.out.Changes); n > 0 {
		t.out.Changes[n-1].Last = true
	}
}

// rests is the change that an answer about r rests on. A resource that is gone has left no trace of its own, so that the answer
// waits for the newest change of all.
func (t *Table) rests(r *resource) uint64 {
	if r == nil {
		return t.seq
	}
	return r.changed
}

// answer queues a final answer about r, which may be nil.
func (t *Table) answer(to Reply, r *resource, a Answer) {
	t.out.Answers = append(t.out.Answers, Due{Reply: to, After: t.rests(r), Answer: a})
}
