package lock

import "time"

// Release ends a grant, or cancels a waiter that is named by its id.
func (t *Table) Release(now int64, ref *Ref, to Reply) {
	r := t.at(now, ref.Resource)
	c, refusal := t.find(now, r, ref)
	switch {
	case refusal.Code != 0:
		t.answer(to, r, refusal)
	case c == nil:
		t.answer(to, r, t.releaseAgain(now, r, ref))
	case c.state == waiting:
		t.cancel(now, c)
		t.answer(to, r, Answer{Code: Cancelled, ID: ref.ID})
	default:
		a := Answer{Code: Released, Token: c.token, ID: c.id}
		t.end(now, c, EventReleased)
		t.answer(to, r, a)
	}
	t.done()
}

// releaseAgain answers a release that found nothing. A repeated one gets the answer of the first. An id that was never seen is
// remembered, so that its acquire gets nothing if it comes late.
func (t *Table) releaseAgain(now int64, r *resource, ref *Ref) Answer {
	switch how, token := t.recall(ref); {
	case how == EventReleased:
		return Answer{Code: Released, Token: token, ID: ref.ID}
	case how == EventLeft || how == EventHandedBack:
		return Answer{Code: Cancelled, Token: token, ID: ref.ID}
	case how == barred:
		return Answer{Code: NotHeld}
	case how == 0 && ref.ID != "" && ref.Token == 0:
		t.memory.put(now, t.memory.idKey(ref.Resource, ref.Owner, ref.ID), barred, 0)
		return Answer{Code: NotHeld}
	default:
		return t.notHeld(r, ref)
	}
}

// cancel ends a waiter for good. A request that is parked at it learns that its id is used.
func (t *Table) cancel(now int64, c *claim) {
	if p := c.parked; p != nil {
		t.answer(p.Reply, c.res, Answer{Code: IDUsed})
	}
	t.memory.put(now, t.memory.idKey(c.res.name, c.owner, c.id), EventLeft, 0)
	t.forget(now, c, WhyCancelled)
}

// end ends a grant and hands the lock on.
func (t *Table) end(now int64, c *claim, how EventKind) {
	t.free(now, c, how)
	t.promote(now, c.res)
	t.drop(c.res)
}

// free ends a grant for good.
func (t *Table) free(now int64, c *claim, how EventKind) {
	t.unhold(c)
	t.tell(now, c, how, 0)
	lasted := time.Duration(now - c.since)
	t.stats.Hold.Observe(lasted)
	resource := t.memory.hash(c.res.name)
	t.habits.held(resource, lasted)
	if q := c.res.queue; q != nil {
		q.contention.held(lasted)
	}
	names := mix(resource, t.memory.hash(c.owner))
	t.memory.put(now, mix(names, uint64(c.token)), how, c.token)
	if c.id != "" {
		t.memory.put(now, mix(names, t.memory.hash(c.id)), how, c.token)
	}
	c.state = ended
	t.arm(c)
}

// unhold takes the claim out of the holders.
func (t *Table) unhold(c *claim) {
	r := c.res
	r.holders.remove(c)
	r.index.freed(c)
	r.index.unnamed(c)
	t.stats.Grants--
	t.change(r, true, Record{Resource: r.name, Token: c.token})
}
