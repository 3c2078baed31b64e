package lock

// SetFull says whether the store has no room for more. While it is full, nothing is granted and no lease is made longer, but all else goes on:
// what only deletes can be stored. Those who wait, wait on at their places. Once there is room again, Promote grants what they can have.
func (t *Table) SetFull(full bool) {
	if full && t.heldBack == nil {
		t.heldBack = map[string]struct{}{}
	}
	t.full = full
}

// Full reports what SetFull said last.
func (t *Table) Full() bool { return t.full }

// Promote grants, on up to budget resources, what could not be granted while the store was full. It reports whether there are more.
func (t *Table) Promote(now int64, budget int) (more bool) {
	if t.full {
		return false
	}
	for name := range t.heldBack {
		if budget == 0 {
			return true
		}
		budget--
		delete(t.heldBack, name)
		if r := t.at(now, name); r != nil {
			t.promote(now, r)
			t.done()
		}
	}
	t.heldBack = nil
	return false
}
