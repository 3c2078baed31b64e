package events

import (
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// ring keeps the newest events, whose numbers follow one another. An event of no kind says that some before it were missed.
type ring struct {
	entries []wire.Event // by number, modulo size
	size    int          // events
	bytes   int          // that the names and notes in them take
	began   time.Time
	begin   int64 // the first number of all
	oldest  int64 // the number of the oldest that is kept
	next    int64 // the number of the next event
}

// textBytes bounds what the names and notes of an event take, on average of all that are kept: with longer ones, fewer are kept. An event
// takes 152 bytes beside them.
const textBytes = 350

// reset makes the ring empty. Its numbers begin at number, or higher, so that it has none of those before, nor the one behind them.
func (r *ring) reset(now time.Time) {
	r.entries, r.bytes, r.began = nil, 0, now
	r.begin = max(now.UnixMicro(), r.next+1)
	r.oldest, r.next = r.begin, r.begin
}

// clear forgets all events.
func (r *ring) clear() { r.entries, r.bytes, r.oldest = nil, 0, r.next }

// at is where the event with that number is, or will be.
func (r *ring) at(number int64) *wire.Event { return &r.entries[(number-r.begin)%int64(r.size)] }

// since is the time from which on all events are kept.
func (r *ring) since() time.Time {
	if r.oldest == r.begin {
		return r.began
	}
	return r.at(r.oldest).Time
}

func (r *ring) len() int { return int(r.next - r.oldest) }

// add keeps an event as the newest.
func (r *ring) add(e *lock.Event, now time.Time) *wire.Event {
	r.bytes += text(e)
	for r.next-r.oldest == int64(r.size) || r.next > r.oldest && r.bytes > r.size*textBytes {
		r.drop()
	}
	if len(r.entries) < r.size {
		r.entries = append(r.entries, wire.Event{})
	}
	to := r.at(r.next)
	to.Event, to.Number, to.Time = *e, r.next, now
	r.next++
	return to
}

// drop forgets the oldest event.
func (r *ring) drop() {
	e := r.at(r.oldest)
	r.bytes -= text(&e.Event)
	e.Resource, e.Owner, e.ID, e.Note, e.By = "", "", "", "", ""
	r.oldest++
}

// text is what the texts of an event take.
func text(e *lock.Event) int {
	return len(e.Resource) + len(e.Owner) + len(e.ID) + len(e.Note) + len(e.By)
}

// copy copies events from that number on, which must be kept or the next, and returns how many.
func (r *ring) copy(to []wire.Event, number int64) int {
	n := int(min(int64(len(to)), r.next-number))
	if n == 0 {
		return 0
	}
	at := int((number - r.begin) % int64(r.size))
	done := copy(to[:n], r.entries[at:])
	copy(to[done:n], r.entries)
	return n
}
