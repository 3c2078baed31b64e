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

	eventKinds
	barred = eventKinds // how an id ended that was released before it was seen; no event
)

// String returns the name of the kind as clients know it.
func (k EventKind) String() string {
	return [eventKinds]string{"", "queued", "left", "granted", "released", "expired", "evicted", "handed_back"}[k]
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

// Event is something that happened to a grant or a waiter.
type Event struct {
	Kind     EventKind
	Why      Why // with EventLeft
	Resource string
	Owner    string
	ID       string        // "" if there is none
	Token    int64         // of the grant, or 0
	Lasted   time.Duration // how long the grant was held; with EventGranted and EventLeft, the wait
	By       string        // with EventEvicted: who asked for it
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
			Kind: kind, Why: why, Resource: c.res.name, Owner: c.owner, ID: c.id, Token: c.token, Lasted: time.Duration(now - c.since),
		})
	}
}
