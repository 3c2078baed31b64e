package lock

import "time"

// Renew moves the deadline of a lease to now + expire, but never back. If expire is 0, the lease's own length counts. It helps no longer than
// MaxHold allows.
func (t *Table) Renew(now int64, ref *Ref, expire time.Duration, to Reply) {
	r := t.at(now, ref.Resource)
	c, refusal := t.find(now, r, ref)
	switch {
	case refusal.Code != 0:
		t.answer(to, r, refusal)
	case c == nil || c.state == waiting:
		t.answer(to, r, t.notHeld(r, ref))
	case c.over(now) || c.toldOver():
		t.answer(to, r, Answer{Code: NotHeld, Reason: Expired})
	case t.full && c.lease > 0 && int64(expire) > c.lease:
		t.answer(to, r, Answer{Code: StorageFull})
	default:
		t.renew(now, c, int64(expire))
		t.promise(dueRenew, c, to, now, 0)
	}
	t.done()
}

func (t *Table) renew(now int64, c *claim, expire int64) {
	if c.mark != 0 {
		c.mark, c.told = 0, 1<<forSure // its client has the grant after all
	}
	if c.lease > 0 {
		if expire == 0 {
			expire = c.lease
		}
		c.deadline = max(c.deadline, now+expire)
		if expire > c.lease {
			c.extra() // it keeps what was asked for
			c.lease = expire
			t.change(c.res, false, c.record())
		}
	}
	t.tell(now, c, EventRenewed, 0)
	t.arm(c)
}
