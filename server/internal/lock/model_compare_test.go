package lock_test

import (
	"slices"
	"strings"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// settle has the answers leave that the table has for now.
func (d *duel) settle() {
	for i := 0; i < len(d.effects.Answers); i++ { // settling can bring more
		due := &d.effects.Answers[i]
		require.LessOrEqual(d.t, due.After, d.newest(), "an answer rests on a change to come")
		if d.table.Settle(d.now, due) {
			due.Send(&due.Answer)
		}
	}
	d.effects.Answers = d.effects.Answers[:0]
}

// newest is the newest change that the table has made.
func (d *duel) newest() uint64 {
	if n := len(d.effects.Changes); n > 0 {
		return d.effects.Changes[n-1].Seq
	}
	return d.seq
}

// compare holds what the table has done in this step against the model, and against what must be true whatever the model says.
func (d *duel) compare() {
	d.settle()
	if d.model.tied {
		return
	}
	d.compareChanges()
	require.Equal(d.t, d.model.answers, d.answers)
	d.compareNext()
	d.compareStuck()

	stats := d.table.Stats()
	held := d.model.where(func(c *place) bool { return c.held })
	require.Equal(d.t, len(held), stats.Grants)
	require.Equal(d.t, len(d.model.claims)-len(held), stats.Waiters)
	require.Len(d.t, d.store, len(held))
	for _, c := range held {
		require.Equal(d.t, c.record(), d.store[c.token])
	}
	d.requireRules()
}

// compareNext holds the table's next deadline against the model's. It may ask for an earlier call to look for holders that are stuck.
func (d *duel) compareNext() {
	if d.bounds.StuckAfter == 0 || d.model.next() == 0 {
		require.Equal(d.t, d.model.next(), d.table.Next())
		return
	}
	require.LessOrEqual(d.t, d.table.Next(), d.model.next())
	require.NotZero(d.t, d.table.Next())
}

// compareStuck checks that each holder that is stuck was told once, when somebody waited as long as it takes, and no other.
func (d *duel) compareStuck() {
	for _, e := range d.effects.Events {
		require.Equal(d.t, lock.EventStuck, e.Kind)
		require.False(d.t, d.stuck[e.Token], "%d is told to be stuck again", e.Token)
		require.GreaterOrEqual(d.t, e.Lasted, d.bounds.StuckAfter)
		require.Positive(d.t, e.Waiters)
		if d.stuck == nil {
			d.stuck = map[int64]bool{}
		}
		d.stuck[e.Token] = true
	}
	d.effects.Events = nil
	for _, c := range d.model.where(func(c *place) bool { return c.held && d.model.stuck(c) }) {
		waited := slices.ContainsFunc(d.model.present(c.resource), func(w *place) bool { return d.now-w.since >= int64(d.bounds.StuckAfter) })
		require.True(d.t, !waited || d.stuck[c.token], "%d is stuck, and was not told", c.token)
	}
}

func (d *duel) compareChanges() {
	changes := d.effects.Changes
	d.effects.Changes = nil
	for i := range changes {
		require.Equal(d.t, d.seq+1, changes[i].Seq)
		d.seq = changes[i].Seq
		apply(d.t, d.store, &d.last, &changes[i])
		changes[i].Seq = 0
	}
	if len(changes) > 0 {
		require.True(d.t, changes[len(changes)-1].Last, "the operation's changes have no end")
	}
	for i := range changes {
		changes[i].Last = false
	}
	// The order counts within a resource only.
	byResource := func(a, b lock.Change) int { return strings.Compare(a.Record.Resource, b.Record.Resource) }
	slices.SortStableFunc(changes, byResource)
	slices.SortStableFunc(d.model.changes, byResource)
	require.Equal(d.t, d.model.changes, changes)
}

// apply does to a store's records what one change says, and checks that the change makes sense.
func apply(t tb, store map[int64]lock.Record, last *int64, c *lock.Change) {
	t.Helper()
	old, known := store[c.Record.Token]
	switch {
	case c.Delete:
		require.True(t, known, "deleted what was not there: %v", c.Record)
		require.Equal(t, old.Resource, c.Record.Resource)
		delete(store, c.Record.Token)
	case known:
		require.Greater(t, c.Record.Lease, old.Lease, "put again without need")
		old.Lease = c.Record.Lease
		require.Equal(t, old, c.Record)
		store[c.Record.Token] = c.Record
	default:
		require.Greater(t, c.Record.Token, *last, "tokens rise")
		*last = c.Record.Token
		store[c.Record.Token] = c.Record
	}
	requireExclusion(t, store, c.Record.Resource)
}

// requireExclusion checks the guarantee of the whole server.
func requireExclusion(t tb, store map[int64]lock.Record, resource string) {
	t.Helper()
	var held []lock.Record
	for _, r := range store {
		if r.Resource == resource {
			held = append(held, r)
		}
	}
	for _, r := range held {
		require.Equal(t, held[0].Mode, r.Mode, "%q is held in two modes", resource)
		require.Equal(t, held[0].Limit, r.Limit, "%q is held with two limits", resource)
	}
	switch {
	case len(held) == 0 || held[0].Mode == lock.Shared:
	case held[0].Mode == lock.Exclusive:
		require.Len(t, held, 1, "%q has two exclusive holders", resource)
	default:
		require.LessOrEqual(t, len(held), int(held[0].Limit), "%q has more holders than permits", resource)
	}
}

// requireRules checks the rules that need no model to predict: they hold in the model too, or both are wrong together.
func (d *duel) requireRules() {
	for _, resource := range d.resources {
		if present := d.model.present(resource); len(present) > 0 {
			require.False(d.t, d.model.admits(present[0]), "a present waiter beside a lock that would admit it: %q", resource)
		}
	}
	for _, c := range d.model.claims {
		_, used := d.model.ids[c.name]
		require.False(d.t, used && c.id != "", "an id that had ended is back: %v", c.name)
		require.False(d.t, c.held && c.ends() != 0 && c.ends() <= d.model.now, "held past its deadline: %v", c.name)
	}
}

func (d *duel) remembers(ref lock.Ref, says func(past, lock.Answer) bool) bool {
	p, ok := d.model.ids[name{ref.Resource, ref.Owner, ref.ID}]
	if ref.Token != 0 {
		p, ok = d.model.tokens[ref.Token]
	}
	return ok && says(p, d.answers[d.n])
}

// releaseRemembers reports, by the answer, whether the table still remembers how p ended. If the answer is the same either way,
// it counts as remembered: then nothing is asked of the table later.
func (m *model) releaseRemembers(p past, a lock.Answer) bool {
	switch p.how {
	case released:
		return a.Code == lock.Released
	case cancelled:
		return a.Code == lock.Cancelled
	default:
		return m.renewRemembers(p, a)
	}
}

func (m *model) renewRemembers(p past, a lock.Answer) bool {
	switch p.how {
	case expired:
		return a.Reason == lock.Expired
	case evicted:
		return a.Reason == lock.Evicted
	default:
		return true
	}
}
