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
		a := Answer{Code: Released, Token: c.token, ID: c.id()}
		t.end(now, c, EventReleased)
		t.answer(to, r, a)
	}
	t.done()
}

// releaseAgain answers a release that found nothing: a repeated one gets what the first one got, and an id that was never seen is
// remembered as cancelled, so that its acquire, should it come late, gets nothing.
func (t *Table) releaseAgain(now int64, r *resource, ref *Ref) Answer {
	switch o, token := t.recall(ref); {
	case o == EventReleased:
		return Answer{Code: Released, Token: token, ID: ref.ID}
	case o == EventLeft || o == EventHandedBack:
		return Answer{Code: Cancelled, Token: token, ID: ref.ID}
	case o == barred:
		return Answer{Code: NotHeld}
	case o == 0 && ref.ID != "" && ref.Token == 0:
		t.memory.put(now, t.memory.idKey(ref.Resource, ref.Owner, ref.ID), barred, 0)
		return Answer{Code: NotHeld}
	default:
		return t.notHeld(r, ref)
	}
}

// Renew moves the deadline of a lease to now + expire (0: the lease's own length), never back.
func (t *Table) Renew(now int64, ref *Ref, expire time.Duration, to Reply) {
	r := t.at(now, ref.Resource)
	c, refusal := t.find(now, r, ref)
	switch {
	case refusal.Code != 0:
		t.answer(to, r, refusal)
	case c == nil || c.state == waiting:
		t.answer(to, r, t.notHeld(r, ref))
	case c.over(now):
		t.answer(to, r, Answer{Code: NotHeld, Reason: Expired})
	default:
		t.renew(now, c, int64(expire))
		t.out.Answers = append(t.out.Answers, Due{
			Reply: to, After: r.changed, kind: dueRenew, claim: c, arrived: now, deadline: c.deadline,
			Answer: Answer{Code: Granted, Mode: c.mode, Limit: c.permits, Token: c.token, ID: c.id()},
		})
	}
	t.done()
}

func (t *Table) renew(now int64, c *claim, expire int64) {
	t.stats.Renewals++
	if c.handBack() != 0 {
		c.label.handBack = 0 // its client has the grant after all
	}
	if c.lease > 0 {
		if expire == 0 {
			expire = c.lease
		}
		c.deadline = max(c.deadline, now+expire)
		if expire > c.lease {
			if c.label == nil {
				c.label = &label{expire: c.lease}
			}
			c.lease = expire
			t.change(c.res, false, c.record())
		}
	}
	t.arm(c)
}

// find returns the claim that ref names, or nil, or the refusal of a ref that names none or two.
func (t *Table) find(now int64, r *resource, ref *Ref) (_ *claim, refusal Answer) {
	if r == nil {
		return nil, Answer{}
	}
	if ref.Token == 0 && ref.ID == "" {
		n, c := r.byOwner(ref.Owner)
		if n > 1 {
			return nil, Answer{Code: TokenRequired}
		}
		return c, Answer{}
	}
	var byToken, byID *claim
	if ref.Token != 0 {
		if byToken = r.byToken(ref.Token); byToken != nil && byToken.owner != ref.Owner {
			byToken = nil
		}
	}
	if ref.ID != "" {
		if byID = r.byID(ref.Owner, ref.ID); byID != nil && byID.lostPlace(now) {
			byID = nil
		}
	}
	switch {
	case ref.Token == 0:
		return byID, Answer{}
	case ref.ID == "" || byToken == byID:
		return byToken, Answer{}
	default:
		return nil, Answer{Code: Mismatch, Field: "token"}
	}
}

// notHeld says why what ref names is not held.
func (t *Table) notHeld(r *resource, ref *Ref) Answer {
	o, _ := t.recall(ref)
	switch {
	case o == EventExpired:
		return Answer{Code: NotHeld, Reason: Expired}
	case o == EventEvicted:
		return Answer{Code: NotHeld, Reason: Evicted}
	case r != nil && r.holders.n > 0:
		return Answer{Code: NotHeld, Reason: OtherHolder}
	default:
		return Answer{Code: NotHeld}
	}
}

// recall looks up how what ref names has ended, and its token; 0 where that is not remembered.
func (t *Table) recall(ref *Ref) (EventKind, int64) {
	switch {
	case ref.Token != 0:
		return t.memory.get(t.memory.tokenKey(ref.Resource, ref.Owner, ref.Token))
	case ref.ID != "":
		return t.memory.get(t.memory.idKey(ref.Resource, ref.Owner, ref.ID))
	default:
		return 0, 0
	}
}

// end frees the resource of a holder and hands it on.
func (t *Table) end(now int64, c *claim, how EventKind) {
	t.free(now, c, how)
	t.promote(now, c.res)
	t.drop(c.res)
}

// free takes the holder out, for good.
func (t *Table) free(now int64, c *claim, how EventKind) {
	t.unhold(c)
	t.tell(now, c, how, 0)
	t.stats.Hold.Observe(time.Duration(now - c.since))
	t.memory.put(now, t.memory.tokenKey(c.res.name, c.owner, c.token), how, c.token)
	if id := c.id(); id != "" {
		t.memory.put(now, t.memory.idKey(c.res.name, c.owner, id), how, c.token)
	}
	c.state = ended
	t.arm(c)
}

// unhold takes the claim from the holders.
func (t *Table) unhold(c *claim) {
	r := c.res
	r.holders.remove(c)
	r.index.freed(c)
	r.index.unnamed(c)
	t.stats.Grants--
	t.change(r, true, Record{Resource: r.name, Token: c.token})
}

// cancel ends a waiter for good. A request that is parked at it learns that its id is used.
func (t *Table) cancel(now int64, c *claim) {
	if p := c.parked; p != nil {
		t.answer(p.Reply, c.res, Answer{Code: IDUsed})
	}
	t.memory.put(now, t.memory.idKey(c.res.name, c.owner, c.id()), EventLeft, 0)
	t.forget(now, c, WhyCancelled)
}
