package lock

import (
	"time"

	"github.com/lockserver/lockserver/server/internal/fault"
)

// queue is the claims that wait for a resource, in the order of their first requests.
type queue struct {
	list
	present    int         // how many of them have a request parked
	numbered   bool        // whether label.mark is right
	gone       int         // how many have left the head since the numbering
	contention *contention // nil if it has been forgotten
	nextLook   int64       // no holder becomes stuck before, see tellStuck
}

// enter puts c before at, or at the end if at is nil.
func (q *queue) enter(c, at *claim) {
	q.insertBefore(at, c)
	if at != nil {
		q.numbered = false
	} else if c.label != unlabelled {
		c.mark = int64(q.gone + q.n)
	}
}

func (q *queue) leave(c *claim) {
	if c == q.head {
		q.gone++
	} else if c != q.tail {
		q.numbered = false
	}
	q.remove(c)
}

// position returns the position of a claim with an id; 1 is the head. It walks the queue only if one has left or entered in the
// middle since the last walk, so that many waiters that are told their positions one after the other do not each walk it.
func (q *queue) position(c *claim) int {
	if !q.numbered {
		q.numbered, q.gone = true, 0
		number := 0
		for w := q.head; w != nil; w = w.next {
			number++
			if w.label != unlabelled {
				w.mark = int64(number)
			}
		}
	}
	return int(c.mark) - q.gone
}

// enqueue puts the claim into its resource's queue, in the order of arrival.
func (t *Table) enqueue(c *claim) {
	r := c.res
	if r.queue == nil {
		r.queue = &queue{}
	}
	if r.queue.contention == nil {
		r.queue.contention = t.contention(r.name)
	}
	r.queue.contention.waits++
	at := r.queue.head
	if tail := r.queue.tail; tail == nil || tail.arrival < c.arrival {
		at = nil
	}
	for at != nil && at.arrival < c.arrival {
		at = at.next
	}
	if fault.LastInFirstOut {
		at = r.queue.head
	}
	r.queue.enter(c, at)
	t.stats.Waiters++
	r.index.named(c)
	r.reindex()
}

// dequeue takes the claim out of the queue.
func (t *Table) dequeue(c *claim) {
	r := c.res
	if c.present() {
		r.queue.present--
	}
	r.queue.leave(c)
	t.stats.Waiters--
	r.index.unnamed(c)
	c.parked = nil
}

// park makes p the request that waits at the claim.
func (t *Table) park(now int64, c *claim, p asking) {
	if c.parked == nil {
		c.res.queue.present++
		t.tell(now, c, EventQueued, 0)
	}
	c.parked = &parked{p.Reply, p.arrived}
	c.deadline = p.until
	t.armWaiter(now, c)
}

// promote grants what it can to the waiters of r: it goes through those that are present, in their order, up to the first that has
// to wait on. While nothing can be stored, all wait on.
func (t *Table) promote(now int64, r *resource) {
	if r.present() == 0 || r.full() {
		return
	}
	if t.full {
		t.heldBack[r.name] = struct{}{}
		return
	}
	for c := r.queue.head; c != nil; {
		next := c.next
		if c.present() {
			if !r.admits(c) {
				return
			}
			p := c.asks()
			t.dequeue(c)
			r.queue.contention.handedOff(time.Duration(now - c.since))
			t.grant(now, c, p)
		}
		c = next
	}
}

// unpark answers the request that waits at the claim that its wait is over. With an id the place is kept.
func (t *Table) unpark(now int64, c *claim, p asking) {
	r := c.res
	if c.id != "" {
		a := t.queued(now, c, r)
		t.absent(now, c, WhyTimedOut)
		t.answer(p.Reply, r, a)
		t.promote(now, r)
		return
	}
	t.leave(now, c, WhyTimedOut)
	t.blocked(now, p, r, c.mode, Locked)
	t.promote(now, r)
	t.drop(r)
}

// absent keeps the place of a waiter that has an id, without a request.
func (t *Table) absent(now int64, c *claim, why Why) {
	t.tell(now, c, EventLeft, why)
	c.res.queue.present--
	c.turn()
	c.parked = nil
	c.deadline = now + int64(PlaceKept)
	t.arm(c)
}

// forget ends a waiter, which makes way for those behind it.
func (t *Table) forget(now int64, c *claim, why Why) {
	t.leave(now, c, why)
	t.promote(now, c.res)
	t.drop(c.res)
}

func (t *Table) leave(now int64, c *claim, why Why) {
	t.dequeue(c)
	t.tell(now, c, EventLeft, why)
	c.state = ended
	t.arm(c)
}
