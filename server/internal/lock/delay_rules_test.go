package lock_test

import (
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// call makes one call of the table, and checks the rules after it.
func (d *delayed) call(what string, f func()) {
	if what != "advance" {
		d.log("%s", what)
	}
	late := d.table.Next() != 0 && d.table.Next() <= d.now
	f()
	d.collect(what)
	if late { // it did several things, one after the other: only its end can be judged
		d.granted = nil
	}
	if next := d.table.Next(); next == 0 || next > d.now {
		d.requireOrder()
		d.requireNobodyWaitsInVain()
		for token := range d.promised {
			_, held := d.store[token]
			require.False(d.t, held && d.ends[token] != 0 && d.ends[token] <= d.now, "grant %d is held past its deadline", token)
		}
	}
}

// collect takes what the table brought about.
func (d *delayed) collect(what string) {
	d.granted = nil
	for _, c := range d.effects.Changes {
		require.Equal(d.t, d.seq+1, c.Seq)
		d.seq = c.Seq
		if old := d.store[c.Record.Token]; c.Delete {
			delete(d.given, name{old.Resource, old.Owner, old.ID})
		}
		_, known := d.store[c.Record.Token]
		apply(d.t, d.store, &d.last, &c)
		if !c.Delete && !known {
			delete(d.ends, c.Record.Token) // it may be one that a crash took back
			if c.Record.Lease > 0 {
				d.ends[c.Record.Token] = d.now + int64(c.Record.Lease)
			}
		}
		switch until, promised := d.promised[c.Record.Token]; {
		case c.Delete && promised:
			byHand := what == "release" || what == "force release"
			require.True(d.t, byHand || until != 0 && until <= d.now,
				"%s ended grant %d, promised until %v, at %v", what, c.Record.Token, time.Duration(until), time.Duration(d.now))
			delete(d.promised, c.Record.Token)
		case !c.Delete && !known:
			d.granted = append(d.granted, name{c.Record.Resource, c.Record.Owner, c.Record.ID})
		}
	}
	if n := len(d.effects.Changes); n > 0 {
		require.True(d.t, d.effects.Changes[n-1].Last)
	}
	d.requireEvents()
	d.changes = append(d.changes, d.effects.Changes...)
	answers := d.effects.Answers
	d.effects = lock.Effects{}
	d.queue = append(d.queue, answers...)
	for _, due := range answers {
		if a := d.asked[due.N]; a != nil && due.Answer.Code == lock.Queued {
			d.kept[a.name()] = d.now + int64(lock.PlaceKept)
		} else if a != nil && due.Answer.Code == lock.LimitMismatch {
			delete(d.kept, a.name())
		}
	}
}

var everything = []lock.EventKind{
	lock.EventQueued, lock.EventLeft, lock.EventGranted, lock.EventReleased, lock.EventExpired, lock.EventEvicted, lock.EventHandedBack,
}

// requireEvents checks that whoever follows the events knows who holds what, and who waits.
func (d *delayed) requireEvents() {
	for _, e := range d.effects.Events {
		who := name{e.Resource, e.Owner, e.ID}
		present, waits := d.places[who]
		switch e.Kind {
		case lock.EventQueued:
			require.False(d.t, present, "%v is queued twice", who)
			d.places[who] = true
		case lock.EventLeft:
			require.True(d.t, waits, "%v left from nowhere", who)
			require.True(d.t, present || e.Why != lock.WhyGone && e.Why != lock.WhyTimedOut, "%v left twice", who)
			delete(d.places, who)
			if e.ID != "" && (e.Why == lock.WhyGone || e.Why == lock.WhyTimedOut) {
				d.places[who] = false
			}
		case lock.EventGranted:
			require.Equal(d.t, waits, present, "%v is granted and was not present", who)
			require.NotContains(d.t, d.holders, e.Token)
			delete(d.places, who)
			d.holders[e.Token] = who
		default:
			require.Equal(d.t, who, d.holders[e.Token], "%v of another's grant", e.Kind)
			delete(d.holders, e.Token)
		}
	}
	require.Len(d.t, d.places, d.table.Stats().Waiters)
	require.Len(d.t, d.holders, len(d.store))
	for token, r := range d.store {
		require.Equal(d.t, name{r.Resource, r.Owner, r.ID}, d.holders[token])
	}
}

// Answer checks what may be said, and when.
func (d *delayed) Answer(n uint64, a *lock.Answer) {
	if a.Code == lock.Released {
		require.NotContains(d.t, d.store, a.Token)
		d.gone[a.Token] = true
	}
	asked := d.asked[n]
	if asked != nil {
		if asked.left {
			return
		}
		require.False(d.t, asked.answered, "request %d is answered twice", n)
		asked.answered, asked.token = true, a.Token
	}
	switch a.Code {
	case lock.Queued, lock.Locked, lock.LimitMismatch:
		require.Len(d.t, a.Detail.Holders, min(10, a.Detail.HoldersTotal), "the holders that are named, of all")
		for _, h := range a.Detail.Holders {
			require.LessOrEqual(d.t, h.Token, d.onDisk, "request %d is told of grant %d before that is durable", n, h.Token)
		}
	}
	if a.Code != lock.Granted {
		return
	}
	require.True(d.t, a.ExpiresIn == lock.NoLease || a.ExpiresIn >= time.Millisecond, "granted for %v", a.ExpiresIn)
	require.False(d.t, d.gone[a.Token], "grant %d is given out after its release", a.Token)
	rec, held := d.store[a.Token]
	if !held {
		return // ended since, by somebody's hand
	}
	if n < d.left[name{rec.Resource, rec.Owner, rec.ID}] {
		return // a renewal from before the client hung up: the grant is handed on all the same
	}
	require.Contains(d.t, d.disk, a.Token, "grant %d is given out before it is durable", a.Token)
	if of := (name{rec.Resource, rec.Owner, rec.ID}); asked != nil && d.given[of] == 0 {
		d.given[of] = n
	}
	until := int64(0)
	if a.ExpiresIn != lock.NoLease {
		until = d.now + int64(a.ExpiresIn)
	}
	require.GreaterOrEqual(d.t, until, d.promised[a.Token], "grant %d got shorter", a.Token)
	d.promised[a.Token] = until
}

// peek looks at a resource without waiting for anything.
func (d *delayed) peek(resource string) *lock.Detail {
	d.table.Show(d.now, resource, lock.Reply{To: d})
	d.t.Helper()
	last := len(d.effects.Answers) - 1
	detail := d.effects.Answers[last].Answer.Detail
	d.effects.Answers = d.effects.Answers[:last]
	if detail == nil {
		return &lock.Detail{}
	}
	return detail
}

// requireOrder checks that the queue is in the order of arrival, and that no grant of this call passed over one who was present.
func (d *delayed) requireOrder() {
	for _, resource := range d.resources {
		var last uint64
		for _, w := range d.peek(resource).Queue {
			arrival := d.arrivals[name{resource, w.Owner, w.ID}]
			require.Greater(d.t, arrival, last, "%q: %s %s is at the wrong place", resource, w.Owner, w.ID)
			last = arrival
			for _, g := range d.granted {
				passed := w.Present && g.resource == resource && d.arrivals[g] > arrival
				require.False(d.t, passed, "%v was granted before %v, who was there first", g, w)
			}
		}
	}
}

// requireNobodyWaitsInVain checks that no request is parked at a lock that it could have.
func (d *delayed) requireNobodyWaitsInVain() {
	onTheWay := map[uint64]bool{}
	for _, due := range d.queue {
		onTheWay[due.N] = true
	}
	for _, resource := range d.resources {
		held := 0
		var holder lock.Record
		for _, r := range d.store {
			if r.Resource == resource {
				held, holder = held+1, r
			}
		}
		var first *asked // the present waiter at the head
		var at uint64
		for n, a := range d.asked {
			if a.Resource != resource || a.answered || a.left || onTheWay[n] {
				continue
			}
			if arrival := d.arrivals[a.name()]; first == nil || arrival < at {
				first, at = a, arrival
			}
		}
		if first == nil {
			continue
		}
		inVain := held == 0 || first.Mode == lock.Shared && holder.Mode == lock.Shared ||
			first.Mode == lock.Semaphore && holder.Mode == lock.Semaphore && held < int(first.Limit)
		require.False(d.t, inVain, "%v waits, and could have its lock", first.name())
	}
}
