package lock

import (
	"time"

	"github.com/lockserver/lockserver/server/internal/fault"
)

// Acquire asks for a grant. A request that is parked is answered later. The ticket names the request for Leave.
func (t *Table) Acquire(now int64, req *Request, to Reply) Ticket {
	r := t.at(now, req.Resource)
	wait := req.Wait
	if !req.Uncapped {
		wait = min(wait, t.bounds.MaxWait)
	}
	p := asking{parked{to, now}, now + int64(wait)}
	ticket := t.acquire(now, r, req, p)
	t.done()
	return ticket
}

func (t *Table) acquire(now int64, r *resource, req *Request, p asking) Ticket {
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
		if how, _ := t.memory.get(t.memory.idKey(req.Resource, req.Owner, req.ID)); how != 0 && !fault.IDsForgotten {
			t.answer(p.Reply, r, Answer{Code: IDUsed})
			return Ticket{}
		}
	}
	if r != nil && r.otherKind(req.Limit) {
		t.blocked(now, p, r, req.Mode, LimitMismatch)
		return Ticket{}
	}

	t.arrivals++
	c := &claim{
		res: r, owner: req.Owner, label: newLabel(req.ID, req.Note, int64(req.Expire), int64(req.Expire), int64(req.MaxHold)),
		lease: int64(req.Expire), arrival: t.arrivals, since: now, timer: noTimer, permits: req.Limit, mode: req.Mode,
	}
	switch free := r == nil || (r.present() == 0 || fault.Barging) && (r.holders.n == 0 || r.admits(c)); {
	case free && t.full:
		t.answer(p.Reply, r, Answer{Code: StorageFull})
		return Ticket{}
	case free && t.stats.Grants >= t.bounds.MaxLocks:
		t.answer(p.Reply, r, Answer{Code: TooManyLocks})
		return Ticket{}
	case !free && p.until == now:
		t.blocked(now, p, r, req.Mode, Locked)
		return Ticket{}
	case !free && t.stats.Waiters >= t.bounds.MaxWaiters:
		t.answer(p.Reply, r, Answer{Code: TooManyWaiters})
		return Ticket{}
	case r == nil:
		r = t.create(req.Resource)
		c.res = r
		fallthrough
	case free:
		r.permits = req.Limit
		t.grant(now, c, p)
	default:
		t.enqueue(c)
		t.park(now, c, p)
	}
	return c.ticket()
}

// resume lets a request take over the claim with its id.
func (t *Table) resume(now int64, c *claim, req *Request, p asking) Ticket {
	r := c.res
	if c.mode != req.Mode || c.permits != req.Limit || c.expire() != int64(req.Expire) || c.maxHold() != int64(req.MaxHold) {
		t.answer(p.Reply, r, Answer{Code: Mismatch, Field: "id"})
		return Ticket{}
	}
	c.turn()
	if older := c.parked; older != nil {
		t.answer(older.Reply, r, t.queued(now, c, r))
	}
	if c.state == held {
		if c.offered {
			c.told = 0 // the answers under way become 202
		}
		if c.mark != 0 {
			c.mark, c.offered = 0, true
			t.arm(c)
		}
		c.told |= 1
		t.promise(dueGrant, c, p.Reply, p.arrived, p.until)
		return c.ticket()
	}
	if !c.present() && r.otherKind(c.permits) {
		t.forget(now, c, WhyPlaceLost)
		t.blocked(now, p, r, c.mode, LimitMismatch)
		return Ticket{}
	}
	c.more = newMore(req.Note, c.lease, c.lease, int64(req.MaxHold))
	if r.holders.n == 0 && r.present() == 0 {
		r.permits = c.permits
	}
	t.park(now, c, p)
	t.promote(now, r)
	if c.state == waiting && p.until == now {
		t.unpark(now, c, p)
		return Ticket{}
	}
	return c.ticket()
}

// grant makes the claim, which is in no list, a holder.
func (t *Table) grant(now int64, c *claim, p asking) {
	t.token++
	c.token, c.offered, c.told = t.token, true, 1
	t.tell(now, c, EventGranted, 0)
	t.stats.Wait.Observe(time.Duration(now - c.since))
	t.hold(now, c)
	t.change(c.res, false, c.record())
	t.promise(dueGrant, c, p.Reply, p.arrived, p.until)
}

// hold puts the claim among the holders, and begins its lease.
func (t *Table) hold(now int64, c *claim) {
	c.state, c.since, c.deadline = held, now, 0
	if c.label != unlabelled {
		c.mark = 0
	}
	if c.lease > 0 {
		c.deadline = now + c.lease
	}
	if longest := t.longest(c); longest > 0 {
		c.extra().holdEnd = now + longest
	}
	r := c.res
	r.holders.push(c)
	r.index.named(c)
	r.index.granted(c)
	r.reindex()
	t.stats.Grants++
	t.arm(c)
}

// longest is how long the claim may be held, or 0 if there is no bound.
func (t *Table) longest(c *claim) int64 {
	asked, most := c.maxHold(), int64(t.bounds.MaxHold)
	if asked == 0 || most != 0 && most < asked {
		return most
	}
	return asked
}

// queued is the answer to a request whose place is kept. r is the resource as it is now, or nil if nothing is left of it.
func (t *Table) queued(now int64, c *claim, r *resource) Answer {
	position := 1
	if c.state == waiting {
		position = r.queue.position(c)
	}
	return Answer{Code: Queued, ID: c.id, Position: position, PlaceKept: PlaceKept, Detail: t.inTheWay(now, r, position-1, c.mode)}
}

// blocked answers a request that cannot have r, as others hold or await it.
func (t *Table) blocked(now int64, p asking, r *resource, mode Mode, code Code) {
	t.answer(p.Reply, r, Answer{
		Code: code, Waited: time.Duration(now - p.arrived), Mode: r.mode(), Limit: r.permits, Detail: t.inTheWay(now, r, r.waiters(), mode),
	})
}
