package lock

import "time"

// Settle makes an answer final at the moment it can leave: what it rests on is durable. It says false where there is nothing to
// send yet: the grant ran out before its answer and the request waits on, or the lease was renewed and the answer rests on that
// now. The engine calls it once for each answer.
func (t *Table) Settle(now int64, d *Due) bool {
	if d.kind == dueFinal {
		return true
	}
	d.Answer.Waited = time.Duration(now - d.arrived)
	told := d.Answer.tell(now, d.deadline)
	if d.kind == dueGrant {
		sent := t.settleGrant(now, d, told)
		t.done()
		return sent
	}
	switch c := d.claim; {
	case told:
		if c.state == held && c.token == d.Answer.Token && c.offered {
			t.givenOut(c) // by this answer, before the one to its acquire
			t.done()
		}
	case t.extended(now, d):
		return false
	default:
		d.Answer = Answer{Code: NotHeld, Reason: Expired}
	}
	return true
}

// givenOut says that the claim's grant is promised to its client: from now on nothing but its time ends it.
func (t *Table) givenOut(c *claim) {
	c.offered = false
	t.arm(c)
}

// tell sets the time left, and says false where there is none to tell.
func (a *Answer) tell(now, deadline int64) bool {
	if deadline == 0 {
		a.ExpiresIn = NoLease
		return true
	}
	a.ExpiresIn = time.Duration(deadline - now)
	return deadline-now >= shortest
}

// extended puts off an answer with too little time left to tell, if a renewal has moved the deadline since: it then tells the new
// one, once that is durable.
func (t *Table) extended(now int64, d *Due) bool {
	c := d.claim
	if c.state != held || c.token != d.Answer.Token || c.deadline-now < shortest {
		return false
	}
	d.deadline, d.After = c.deadline, c.res.changed
	t.out.Answers = append(t.out.Answers, *d)
	return true
}

// settleGrant looks again whether the claim is still granted to the request. told says whether there is time left to tell.
func (t *Table) settleGrant(now int64, d *Due, told bool) bool {
	c, a := d.claim, &d.Answer
	switch {
	case c.gen != d.gen: // taken over, or left
		r := t.resources[c.res.name]
		t.answer(d.Reply, r, t.queued(now, c, r)) // it names holders, whose grants need not be durable yet
		return false
	case c.state == ended:
		if c.id() != "" || !told {
			*a = d.gone()
		}
		return true
	case told:
		t.givenOut(c)
		return true
	case t.extended(now, d):
		return false
	case !c.offered: // another answer gave the grant out
		*a = d.gone()
		return true
	default:
		return t.lapse(now, d)
	}
}

// gone is the answer to an acquire whose grant is of no use to it any more.
func (d *Due) gone() Answer {
	if d.claim.id() != "" {
		return Answer{Code: IDUsed}
	}
	return Answer{Code: Locked, Waited: d.Answer.Waited, Detail: &Detail{}}
}

// lapse takes a grant back that ran out before its answer. The request waits on at its place, if its wait goes on.
func (t *Table) lapse(now int64, d *Due) bool {
	c := d.claim
	t.tell(now, c, EventExpired, 0)
	t.unhold(c)
	c.token, c.state, c.offered, c.since = 0, waiting, false, d.arrived
	t.enqueue(c)
	p := parked{Reply: d.Reply, arrived: d.arrived, until: d.until}
	t.park(now, c, p)
	switch {
	case t.draining:
		d.Answer = Answer{Code: Draining}
		t.forget(now, c, WhyDraining)
		return true
	case p.until > now:
		t.promote(now, c.res)
	default:
		t.unpark(now, c, p)
	}
	return false
}

// Leave says that the request behind the ticket went away without having got its answer. A waiter gives up its place, or keeps it
// absent where it has an id. A grant goes back: at once without an id, else in PlaceKept unless a request with the id comes.
// A ticket does nothing once its request was refused, told to come again, or taken over by a newer one, or the claim ended.
func (t *Table) Leave(now int64, ticket Ticket) {
	c := ticket.c
	if c == nil || c.gen != ticket.gen || c.state == ended {
		return
	}
	c.gen++
	switch {
	case c.state == held && c.id() != "":
		c.offered = false
		c.label.handBack = now + int64(PlaceKept)
		t.arm(c)
	case c.state == held:
		t.end(now, c, EventHandedBack)
	case c.id() != "":
		t.absent(now, c, WhyGone)
		t.promote(now, c.res)
	default:
		t.forget(now, c, WhyGone)
	}
	t.done()
}

// Drain answers every waiter that the server shuts down, and every Acquire from now on.
func (t *Table) Drain(now int64) {
	t.draining = true
	for r := t.oldest; r != nil; {
		next := r.next
		for r.queue != nil {
			c := r.queue.head
			if p := c.parked; p != nil {
				t.answer(p.Reply, r, Answer{Code: Draining})
			}
			t.leave(now, c, WhyDraining)
		}
		t.drop(r)
		r = next
	}
}
