package lock

import "time"

// EventKind says what happened.
type EventKind uint8

const (
	EventQueued     EventKind = iota + 1 // a request waits, at a new place or at one that was kept
	EventLeft                            // a waiter left without a grant; see Why
	EventGranted                         // a lock was granted, to a waiter or at once
	EventReleased                        // its holder released it
	EventExpired                         // its lease ran out
	EventEvicted                         // it was force-released
	EventHandedBack                      // its client never got it
	EventYield                           // its holder was asked to give it back
	EventStuck                           // its holder is stuck, see Bounds.StuckAfter; once for each grant
	EventRenewed                         // its lease was renewed

	eventKinds
	barred = eventKinds // how an id ended that was released before it was seen; no event
)

// String returns the name of the kind as clients know it.
func (k EventKind) String() string {
	return [eventKinds]string{"", "queued", "left", "granted", "released", "expired", "evicted", "handed_back", "yield", "stuck", "renewed"}[k]
}

// EventKinds returns every kind.
func EventKinds() []EventKind {
	kinds := make([]EventKind, 0, eventKinds-1)
	for k := EventQueued; k < eventKinds; k++ {
		kinds = append(kinds, k)
	}
	return kinds
}

// Why says why a waiter left.
type Why uint8

const (
	WhyGone      Why = iota + 1 // its client went away; with an id its place is kept
	WhyTimedOut                 // its wait ran out; with an id its place is kept
	WhyCancelled                // it was released by its id
	WhyPlaceLost                // its place was kept, and nobody came for it in time, or the lock is of another kind now
	WhyDraining                 // the server shuts down

	whys
)

// String returns the reason as clients know it, or "" if there is none.
func (w Why) String() string {
	return [whys]string{"", "gone", "timed_out", "cancelled", "place_lost", "draining"}[w]
}

// Whys returns every reason.
func Whys() []Why {
	all := make([]Why, 0, whys-1)
	for w := WhyGone; w < whys; w++ {
		all = append(all, w)
	}
	return all
}

// Event is something that happened to a grant or a waiter.
type Event struct {
	Kind      EventKind
	Why       Why // with EventLeft
	Mode      Mode
	Limit     int32 // 0 unless Mode is Semaphore
	Resource  string
	Owner     string
	ID        string        // "" if there is none
	Note      string        // "" if there is none
	Token     int64         // of the grant, or 0
	Lasted    time.Duration // how long the grant was held; with EventGranted and EventLeft, the wait
	ExpiresIn time.Duration // time left until the grant ends by itself, or NoLease; of a waiter, how long that of its grant will be
	Waiters   int           // places in the queue after it
	By        string        // with EventEvicted and EventYield: who asked for it
}

// Watch makes the table add events of these kinds, and no others, to its effects.
func (t *Table) Watch(kinds ...EventKind) {
	t.watched = [eventKinds]bool{}
	for _, k := range kinds {
		t.watched[k] = true
	}
}

// tell counts an event, and adds it to the effects if it is watched.
func (t *Table) tell(now int64, c *claim, kind EventKind, why Why) {
	t.stats.Events[kind]++
	if kind == EventLeft {
		t.stats.Left[why]++
	}
	if t.watched[kind] {
		t.out.Events = append(t.out.Events, Event{
			Kind: kind, Why: why, Mode: c.mode, Limit: c.permits, Resource: c.res.name, Owner: c.owner, ID: c.id, Note: c.note(), Token: c.token,
			Lasted: time.Duration(now - c.since), ExpiresIn: t.leaseLeft(now, c), Waiters: c.res.waiters(),
		})
	}
}

// leaseLeft is the time left of a held claim, and that which another will have.
func (t *Table) leaseLeft(now int64, c *claim) time.Duration {
	switch end, longest := c.ends(), t.longest(c); {
	case c.state == held && end != 0:
		return time.Duration(max(0, end-now))
	case c.state == held || c.lease == 0 && longest == 0:
		return NoLease
	case c.lease == 0 || longest != 0 && longest < c.lease:
		return time.Duration(longest)
	}
	return time.Duration(c.lease)
}
