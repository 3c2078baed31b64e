package lock

import "github.com/lockserver/lockserver/server/internal/fault"

// stuck reports whether a holder is stuck: it has held for Bounds.StuckAfter, and the head of the queue has waited as long. A kept place
// counts, so that a waiter that asks again and again does not make it flicker.
func (t *Table) stuck(now int64, c *claim) bool {
	after, q := int64(t.bounds.StuckAfter), c.res.queue
	return after > 0 && q != nil && q.n > 0 && now-c.since >= after && now-q.head.since >= after
}

// armWaiter sets the timer of a waiter that is present: to the end of its wait, or before it to when a holder may be stuck. Somebody who
// waits less than StuckAfter costs nothing by it.
func (t *Table) armWaiter(now int64, c *claim) {
	due := c.deadline
	if after := int64(t.bounds.StuckAfter); after > 0 && !fault.StuckNotTold {
		q, waited := c.res.queue, c.since+after
		if waited <= now && q.nextLook <= now {
			t.tellStuck(now, c.res)
		}
		due = min(due, max(waited, q.nextLook))
	}
	t.timers.set(c, due)
}

// tellStuck tells of each holder that is stuck, once. No other can be before nextLook.
func (t *Table) tellStuck(now int64, r *resource) {
	after := int64(t.bounds.StuckAfter)
	r.queue.nextLook = now + after // who is granted the lock from now on is not stuck before
	for c := r.holders.head; c != nil; c = c.next {
		switch {
		case !t.stuck(now, c):
			r.queue.nextLook = min(r.queue.nextLook, max(c.since, r.queue.head.since)+after)
			return // those behind it have held for less
		case c.expired(now) || c.more != nil && c.more.notice != nil && c.more.notice.stuck:
		default:
			c.notices().stuck = true
			t.tell(now, c, EventStuck, 0)
		}
	}
}
