package lock

import "time"

// Settle makes an answer final at the moment it may leave, as what it depends on is durable. It returns false if there is nothing to
// send yet. The engine calls it once for each answer.
//
// An answer to an acquire depends on the claim at that moment. told says that the lease has enough left to be told:
//
//	the claim is …                              the answer is …
//	lost to a newer request, or left            202 Queued
//	ended, with an id                           IDUsed
//	ended, without an id                        Granted if told, else Locked: nobody has it any more in either case
//	held, and told                              Granted
//	held, and renewed meanwhile                 put off until the renewal is durable
//	promised by another answer, and not told    as if ended
//	offered, and not told                       none yet: the grant lapses, and the request waits on
//
// An answer to a renewal is Granted if told, put off if the lease was renewed again, even if the grant was released since, and else NotHeld.
func (t *Table) Settle(now int64, d *Due) bool {
	if d.kind == dueFinal {
		return true
	}
	d.Answer.Waited = time.Duration(now - d.arrived)
	told := d.tell(now)
	if d.kind == dueGrant {
		sent := t.settleGrant(now, d, told)
		t.done()
		return sent
	}
	switch c := d.claim; {
	case told:
		if c.state == held && c.token == d.Answer.Token && c.offered {
			c.told |= 1 << forSure
			t.givenOut(c) // by this answer, before the one to its acquire
		}
	case t.renewed(now, d):
		return false
	default:
		if c.state == held && c.token == d.Answer.Token {
			c.notices().over = true
		}
		d.Answer = Answer{Code: NotHeld, Reason: Expired}
	}
	return true
}

func (t *Table) settleGrant(now int64, d *Due, told bool) bool {
	c, a := d.claim, &d.Answer
	switch {
	case c.gen != d.gen:
		t.lost(now, c, d.gen)
		r := t.resources[c.res.name]
		t.answer(d.Reply, r, t.queued(now, c, r)) // a new answer, as the grants that it names may not be durable yet
		return false
	case c.state == ended:
		if c.id != "" || !told {
			*a = d.gone()
		}
		return true
	case told:
		t.givenOut(c)
		return true
	case t.renewed(now, d):
		return false
	case !c.offered:
		t.lost(now, c, d.gen)
		*a = d.gone()
		return true
	default:
		return t.lapse(now, d)
	}
}

// tell sets the time left. It returns false if there is too little to tell.
func (d *Due) tell(now int64) bool {
	if d.deadline == 0 {
		d.Answer.ExpiresIn = NoLease
		return true
	}
	d.Answer.ExpiresIn = time.Duration(d.deadline - now)
	if d.holdEnd != 0 {
		d.Answer.HoldLeft = time.Duration(d.holdEnd - now)
	}
	return d.deadline-now >= shortest
}

// givenOut marks the grant as promised to its client. From now on only time, or somebody's hand, ends it.
func (t *Table) givenOut(c *claim) {
	c.offered = false
	t.arm(c)
}

// renewed puts off an answer with too little time left, if a renewal has moved the deadline since. Of a grant that has ended since, it would
// else say that it was not held, and the answer to that later renewal that it was.
func (t *Table) renewed(now int64, d *Due) bool {
	c := d.claim
	if c.state == waiting || c.token != d.Answer.Token || c.ends()-now < shortest {
		return false
	}
	d.deadline, d.After = c.ends(), c.res.changed
	t.out.Answers = append(t.out.Answers, *d)
	return true
}

// gone is the answer to an acquire whose grant is of no use to it any more.
func (d *Due) gone() Answer {
	if d.claim.id != "" {
		return Answer{Code: IDUsed}
	}
	return Answer{Code: Locked, Waited: d.Answer.Waited, Detail: &Detail{}}
}

// lapse takes back a grant that ran out before its answer. The request waits on at its place, unless its wait is over.
func (t *Table) lapse(now int64, d *Due) bool {
	c := d.claim
	t.tell(now, c, EventExpired, 0)
	t.unhold(c)
	c.token, c.state, c.offered, c.told, c.since = 0, waiting, false, 0, d.arrived
	if c.more != nil {
		c.more.notice = nil
	}
	t.enqueue(c)
	p := asking{parked{d.Reply, d.arrived}, d.until}
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
