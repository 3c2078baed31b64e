package lock

import (
	"math/bits"
	"slices"
	"time"
)

// Estimate is what the wait of one that waits, or would, is by the last times that its resource was held.
type Estimate struct {
	Holds    int // of so many times; 0 if there is no estimate
	P50, P90 time.Duration
}

// habits remember how long resources were held lately. They are a table without chains: of two resources at the same place, the one held
// last is remembered.
type habits []habit

// habit is how long one resource was held lately, as buckets of a Spread. It takes 32 bytes.
type habit struct {
	tag     uint32 // tells resources at the same place apart
	n       uint8
	next    uint8
	lengths [24]uint8
}

// newHabits makes a table with a place for every 16 claims that are remembered.
func newHabits(remembered int) habits {
	return make(habits, 1<<bits.Len(uint(max(0, min(remembered, 1<<20)-1)/16)))
}

func (h habits) at(hash uint64) (place *habit, tag uint32) {
	return &h[hash&uint64(len(h)-1)], uint32(hash >> 32)
}

// held remembers how long the resource with that hash was held.
func (h habits) held(hash uint64, d time.Duration) {
	p, tag := h.at(hash)
	if p.tag != tag {
		*p = habit{tag: tag}
	}
	p.lengths[p.next] = uint8(spreadBucket(d))
	p.next = (p.next + 1) % uint8(len(p.lengths))
	p.n = min(p.n+1, uint8(len(p.lengths)))
}

// of returns how long the resource was held lately, in order of length.
func (h habits) of(hash uint64) (lengths []uint8) {
	p, tag := h.at(hash)
	if p.tag != tag {
		return nil
	}
	lengths = slices.Clone(p.lengths[:p.n])
	slices.Sort(lengths)
	return lengths
}

// forecast tells, place by place in a queue, how long the wait there is.
type forecast struct {
	lengths    []uint8          // of the last holds
	holds      int              // how many they are; 0 if they tell nothing
	rest, hold [2]time.Duration // of the present grant, and of each that follows: P50 and P90
	turns      float64          // grants between the present one and the place
	mode       Mode             // of the last of those
}

// forecast begins behind the holders, at the head of the queue.
func (t *Table) forecast(now int64, r *resource) forecast {
	f := forecast{mode: r.mode()}
	f.lengths = t.habits.of(t.memory.hash(r.name))
	lengths := f.lengths
	c := r.holders.head
	if f.mode == Shared {
		c = r.holders.tail
	}
	if len(lengths) == 0 || c == nil {
		return f
	}
	f.hold = ends(lengths)
	so := time.Duration(now - c.since)
	longer := lengths[len(lengths):]
	for i, length := range lengths {
		if spreadBound(int(length)) > so {
			longer = lengths[i:]
			break
		}
	}
	if len(longer) == 0 {
		return f // it has never been held that long
	}
	f.holds = len(lengths)
	f.rest = ends(longer)
	f.rest[0] -= so
	f.rest[1] -= so
	return f
}

// ends are the bounds of the half of the lengths, and of nine tenths.
func ends(lengths []uint8) [2]time.Duration {
	n := len(lengths)
	return [2]time.Duration{spreadBound(int(lengths[n/2])), spreadBound(int(lengths[n*9/10]))}
}

// pass goes behind a waiter.
func (f *forecast) pass(c *claim) {
	if !c.present() {
		return
	}
	switch {
	case c.mode == Semaphore:
		f.turns += 1 / float64(c.permits)
	case c.mode == Exclusive || f.mode != Shared:
		f.turns++
	}
	f.mode = c.mode
}

// here is the estimate for one that waits here, in that mode.
func (f *forecast) here(mode Mode) Estimate {
	if f.holds == 0 {
		return Estimate{}
	}
	turns := f.turns
	if mode == Shared && f.mode == Shared {
		turns = max(0, turns-1) // it is granted together with those before it
	}
	at := func(i int) time.Duration { return f.rest[i] + time.Duration(turns*float64(f.hold[i])) }
	return Estimate{Holds: f.holds, P50: at(0), P90: at(1)}
}

// named is how many holders, and waiters before it, the answer to an acquire names.
const named = 10

// inTheWay tells a client that did not get the lock who holds it, who waits at the places ahead of it, and how long that may take.
func (t *Table) inTheWay(now int64, r *resource, ahead int, mode Mode) *Detail {
	if r == nil {
		return &Detail{Holders: []Holder{}}
	}
	d := &Detail{Waiters: r.waiters()}
	d.Holders, d.HoldersTotal = t.view(now, r, named)
	if d.Waiters == 0 {
		return d // nobody waits, so nobody asks how long
	}
	f := t.forecast(now, r)
	d.Ahead = f.queue(now, r, min(ahead, named))
	if ahead > named {
		f.turns *= float64(ahead) / named
	}
	d.Estimate = f.here(mode)
	return d
}

// queue returns the first waiters of r, and goes behind them.
func (f *forecast) queue(now int64, r *resource, most int) (first []Waiter) {
	if most = min(most, r.waiters()); most == 0 {
		return nil
	}
	first = make([]Waiter, 0, most)
	for c := r.queue.head; c != nil && len(first) < most; c = c.next {
		first = append(first, Waiter{
			Position: len(first) + 1, Owner: c.owner, ID: c.id, Note: c.note(), Waited: time.Duration(now - c.since), Present: c.present(),
			Estimate: f.here(c.mode),
		})
		f.pass(c)
	}
	return first
}
