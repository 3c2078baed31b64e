package lock

// Yield asks the holder with that token, or the first holders if it is 0, to give the lock back. It takes nothing: they are told, and by
// whom, and the answer says who they are.
func (t *Table) Yield(now int64, resource string, token int64, by string, to Reply) {
	r := t.at(now, resource)
	d := &Detail{}
	if r != nil {
		for c := r.holders.head; c != nil && len(d.Holders) < shown; c = c.next {
			if c.expired(now) || token != 0 && c.token != token {
				continue
			}
			c.notices().yieldTo = by
			d.Holders = append(d.Holders, t.holder(now, c))
			t.tell(now, c, EventYield, 0)
			if t.watched[EventYield] {
				t.out.Events[len(t.out.Events)-1].By = by
			}
		}
	}
	if d.HoldersTotal = len(d.Holders); d.HoldersTotal == 0 {
		t.answer(to, r, Answer{Code: NotFound})
		return
	}
	t.answer(to, r, Answer{Code: Asked, Detail: d})
}

// askedToYield is who asked the holder to give the lock back, or "".
func (c *claim) askedToYield() string {
	if c.more == nil || c.more.notice == nil {
		return ""
	}
	return c.more.yieldTo
}
