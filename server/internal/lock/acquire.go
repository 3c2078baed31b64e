package lock

import (
	"time"

	"github.com/lockserver/lockserver/server/internal/fault"
)

// Acquire asks for a grant. The answer, also of a request that is parked, goes to the sink. The ticket names the request for
// Leave.
func (t *Table) Acquire(now int64, req *Request, to Reply) Ticket {
	r := t.at(now, req.Resource)
	wait := req.Wait
	if !req.Uncapped {
		wait = min(wait, t.bounds.MaxWait)
	}
	p := parked{Reply: to, arrived: now, until: now + int64(wait)}
	ticket := t.acquire(now, r, req, p)
	t.done()
	return ticket
}

func (t *Table) acquire(now int64, r *resource, req *Request, p parked) Ticket {
	if t.draining {
		t.answer(p.Reply, r, Answer{Code: Draining})
		return Ticket{}
	}
	if req.ID != "" {
		if r != nil {
			if c := r.byID(req.Owner, req.ID); c != nil {
				if !c.lostPlace(now) {
					return t.resume(now, c, req, p)
				}
				t.forget(now, c, WhyPlaceLost)
				r = t.resources[req.Resource]
			}
		}
		if o, _ := t.memory.get(t.memory.idKey(req.Resource, req.Owner, req.ID)); o != 0 && !fault.IDsForgotten {
			t.answer(p.Reply, r, Answer{Code: IDUsed})
			return Ticket{}
		}
	}
	if r != nil && r.otherKind(req.Limit) {
		t.refuse(now, p, r, LimitMismatch)
		return Ticket{}
	}

	c := &claim{
		res: r, owner: req.Owner, label: newLabel(req.ID, req.Note, int64(req.Expire), int64(req.Expire)), lease: int64(req.Expire),
		since: now, timer: noTimer, permits: req.Limit, mode: req.Mode,
	}
	if r == nil || (r.present() == 0 || fault.Barging) && (r.holders.n == 0 || r.admits(c)) {
		if t.stats.Grants >= t.bounds.MaxLocks {
			t.answer(p.Reply, r, Answer{Code: TooManyLocks})
			return Ticket{}
		}
		if r == nil {
			r = t.create(req.Resource)
			c.res = r
		}
		r.permits = req.Limit
		t.arrive(c)
		t.grant(now, c, p)
		return Ticket{c, c.gen}
	}
	if p.until == now {
		t.refuse(now, p, r, Locked)
		return Ticket{}
	}
	if t.stats.Waiters >= t.bounds.MaxWaiters {
		t.answer(p.Reply, r, Answer{Code: TooManyWaiters})
		return Ticket{}
	}
	t.arrive(c)
	t.enqueue(c)
	t.park(now, c, p)
	return Ticket{c, c.gen}
}

// lostPlace says whether the claim's kept place is over, although no timer has come to it yet.
func (c *claim) lostPlace(now int64) bool {
	return c.state == waiting && !c.present() && c.deadline <= now
}

// resume lets a request take over the claim with its id.
func (t *Table) resume(now int64, c *claim, req *Request, p parked) Ticket {
	r := c.res
	if c.mode != req.Mode || c.permits != req.Limit || c.expire() != int64(req.Expire) {
		t.answer(p.Reply, r, Answer{Code: Mismatch, Field: "id"})
		return Ticket{}
	}
	c.gen++
	if older := c.parked; older != nil {
		t.answer(older.Reply, r, t.queued(now, c, r))
	}
	if c.state == held {
		delivered := !c.offered && c.label.handBack == 0
		if c.label.handBack != 0 { // no answer with the grant has reached its client yet
			c.label.handBack, c.offered = 0, true
			t.arm(c)
		}
		t.hand(c, p)
		if delivered {
			return Ticket{} // an answer that is lost now takes nothing from the client that got an earlier one
		}
		return Ticket{c, c.gen}
	}
	if !c.present() && r.otherKind(c.permits) {
		t.forget(now, c, WhyPlaceLost)
		t.refuse(now, p, r, LimitMismatch)
		return Ticket{}
	}
	c.label.note = req.Note
	if r.holders.n == 0 && r.present() == 0 {
		r.permits = c.permits
	}
	t.park(now, c, p)
	t.promote(now, r)
	if c.state == waiting && p.until == now {
		t.unpark(now, c, p)
		return Ticket{}
	}
	return Ticket{c, c.gen}
}

func (t *Table) arrive(c *claim) {
	t.arrivals++
	c.arrival = t.arrivals
}

// enqueue puts the claim into its resource's queue, in the order of arrival.
func (t *Table) enqueue(c *claim) {
	r := c.res
	if r.queue == nil {
		r.queue = &queue{}
	}
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
	if r.queue.n == 0 {
		r.queue = nil
	}
	t.stats.Waiters--
	r.index.unnamed(c)
	c.parked = nil
}

// park makes p the request that waits at the claim.
func (t *Table) park(now int64, c *claim, p parked) {
	if c.parked == nil {
		c.res.queue.present++
		t.tell(now, c, EventQueued, 0)
	}
	c.parked = &p
	c.deadline = p.until
	t.arm(c)
}

// promote grants what can be granted: the present waiters in their order, up to the first that has to wait on.
func (t *Table) promote(now int64, r *resource) {
	if r.present() == 0 || r.full() {
		return
	}
	for c := r.queue.head; c != nil; {
		next := c.next
		if p := c.parked; p != nil {
			if !r.admits(c) {
				return
			}
			t.dequeue(c)
			t.grant(now, c, *p)
		}
		c = next
	}
}

// grant makes the claim, which is in no list, a holder.
func (t *Table) grant(now int64, c *claim, p parked) {
	r := c.res
	t.token++
	c.token = t.token
	t.tell(now, c, EventGranted, 0)
	t.stats.Wait.Observe(time.Duration(now - c.since))
	c.state, c.offered, c.since, c.deadline = held, true, now, 0
	if c.lease > 0 {
		c.deadline = now + c.lease
	}
	r.holders.push(c)
	r.index.named(c)
	r.index.granted(c)
	r.reindex()
	t.stats.Grants++
	t.arm(c)
	t.change(r, false, c.record())
	t.hand(c, p)
}

// hand queues the answer with the claim's grant.
func (t *Table) hand(c *claim, p parked) {
	t.out.Answers = append(t.out.Answers, Due{
		Reply: p.Reply, After: c.res.changed, kind: dueGrant, gen: c.gen, claim: c, arrived: p.arrived, until: p.until, deadline: c.deadline,
		Answer: Answer{Code: Granted, Mode: c.mode, Limit: c.permits, Token: c.token, ID: c.id()},
	})
}

// unpark answers the request that waits at the claim that its wait is over. With an id the place is kept.
func (t *Table) unpark(now int64, c *claim, p parked) {
	r := c.res
	if c.id() != "" {
		a := t.queued(now, c, r)
		t.absent(now, c, WhyTimedOut)
		t.answer(p.Reply, r, a)
		t.promote(now, r)
		return
	}
	t.leave(now, c, WhyTimedOut)
	t.refuse(now, p, r, Locked)
	t.promote(now, r)
	t.drop(r)
}

// absent keeps the place of a waiter, which has an id, without a request.
func (t *Table) absent(now int64, c *claim, why Why) {
	t.tell(now, c, EventLeft, why)
	if c.present() {
		c.res.queue.present--
	}
	c.gen++
	c.parked = nil
	c.deadline = now + int64(PlaceKept)
	t.arm(c)
}

// forget takes a waiter out of the queue as if it had never been there.
func (t *Table) forget(now int64, c *claim, why Why) {
	t.leave(now, c, why)
	t.promote(now, c.res)
	t.drop(c.res)
}

// leave ends a waiter.
func (t *Table) leave(now int64, c *claim, why Why) {
	t.tell(now, c, EventLeft, why)
	t.dequeue(c)
	c.state = ended
	t.arm(c)
}

// queued is the answer of a request whose place is kept. r is the resource as it is now; nil if nothing is left of it.
func (t *Table) queued(now int64, c *claim, r *resource) Answer {
	position := 1
	if c.state == waiting {
		position = r.queue.position(c)
	}
	return Answer{Code: Queued, ID: c.id(), Position: position, PlaceKept: PlaceKept, Detail: r.inTheWay(now)}
}

// refuse answers that others hold r, or await it.
func (t *Table) refuse(now int64, p parked, r *resource, code Code) {
	t.answer(p.Reply, r, Answer{
		Code: code, Waited: time.Duration(now - p.arrived), Mode: r.mode(), Limit: r.permits, Detail: r.inTheWay(now),
	})
}

// told is how many holders an answer to an acquire names.
const told = 10

// inTheWay tells a client that has not got the lock who holds it, and how many wait.
func (r *resource) inTheWay(now int64) *Detail {
	if r == nil {
		return &Detail{Holders: []Holder{}}
	}
	holders, total := r.view(now, told)
	return &Detail{Holders: holders, HoldersTotal: total, Waiters: r.waiters()}
}
