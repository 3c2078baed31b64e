package lock

// ForceRelease is a force release in the making. It stays good while the table changes between its steps.
type ForceRelease struct {
	resource string
	token    int64 // 0: all holders there are when it begins
	by       string
	newest   int64 // the newest token then; 0 before the first step
	detail   Detail
}

// NewForceRelease begins to evict the holder with that token, or all holders if token is 0. by is who asked for it.
func NewForceRelease(resource string, token int64, by string) *ForceRelease {
	return &ForceRelease{resource: resource, token: token, by: by}
}

// Evict evicts no more than budget holders, and says whether there are more. It answers with the last of them.
func (t *Table) ForceRelease(now int64, v *ForceRelease, budget int, to Reply) (more bool) {
	r := t.at(now, v.resource)
	if v.newest == 0 {
		v.newest = t.token // what time has brought about by now counts as there
	}
	if r != nil {
		more = t.evict(now, r, v, budget)
		t.promote(now, r)
		t.drop(r)
	}
	if !more {
		a := Answer{Code: NotFound}
		if v.detail.HoldersTotal = len(v.detail.Holders); v.detail.HoldersTotal > 0 {
			a = Answer{Code: ForceReleased, Detail: &v.detail}
		}
		t.answer(to, t.resources[v.resource], a)
	}
	t.done()
	return more
}

// evict frees the holders before the first waiter comes.
func (t *Table) evict(now int64, r *resource, v *ForceRelease, budget int) (more bool) {
	if v.token != 0 {
		if c := r.byToken(v.token); c != nil {
			t.evictOne(now, c, v)
		}
		return false
	}
	// Whoever was granted it since stands behind those that held it before, with a higher token.
	for c := r.holders.head; c != nil && c.token <= v.newest; {
		if budget == 0 {
			return true
		}
		budget--
		next := c.next
		t.evictOne(now, c, v)
		c = next
	}
	return false
}

func (t *Table) evictOne(now int64, c *claim, v *ForceRelease) {
	v.detail.Holders = append(v.detail.Holders, c.holder(now))
	t.free(now, c, EventEvicted)
	if t.watched[EventEvicted] {
		t.out.Events[len(t.out.Events)-1].By = v.by
	}
}
