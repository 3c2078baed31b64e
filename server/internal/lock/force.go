package lock

// ForceRelease is a force release in progress. It stays valid while the table changes between its steps.
type ForceRelease struct {
	Resource string
	Token    int64  // 0 stands for all that hold it at the first step
	By       string // who asked for it

	newest int64 // the newest token at the first step; 0 before it
	detail Detail
}

// ForceRelease evicts up to budget holders and reports whether there are more. It answers with the last of them.
func (t *Table) ForceRelease(now int64, f *ForceRelease, budget int, to Reply) (more bool) {
	r := t.at(now, f.Resource)
	if f.newest == 0 {
		f.newest = t.token
	}
	if r != nil {
		more = t.evictSome(now, r, f, budget)
		t.promote(now, r)
		t.drop(r)
	}
	if !more {
		a := Answer{Code: NotFound}
		if f.detail.HoldersTotal = len(f.detail.Holders); f.detail.HoldersTotal > 0 {
			a = Answer{Code: ForceReleased, Detail: &f.detail}
		}
		t.answer(to, t.resources[f.Resource], a)
	}
	t.done()
	return more
}

// evictSome frees holders without handing the lock on.
func (t *Table) evictSome(now int64, r *resource, f *ForceRelease, budget int) (more bool) {
	if f.Token != 0 {
		if c := r.byToken(f.Token); c != nil {
			t.evict(now, c, f)
		}
		return false
	}
	// Holders that were granted the lock since the first step come last, with higher tokens.
	for c := r.holders.head; c != nil && c.token <= f.newest; {
		if budget == 0 {
			return true
		}
		budget--
		next := c.next
		t.evict(now, c, f)
		c = next
	}
	return false
}

func (t *Table) evict(now int64, c *claim, f *ForceRelease) {
	f.detail.Holders = append(f.detail.Holders, t.holder(now, c))
	t.free(now, c, EventEvicted)
	if t.watched[EventEvicted] {
		t.out.Events[len(t.out.Events)-1].By = f.By
	}
}
