package events

import "github.com/lockserver/lockserver/server/internal/wire"

// ring keeps the newest events, whose numbers follow one another. An event of no kind says that some before it were missed.
type ring struct {
	entries []wire.Event // by number, modulo size
	size    int
	begin   int64 // the first number of all
	next    int64 // the number of the next event
}

// reset makes the ring empty. Its numbers begin at number, or higher, so that it has none of those before, nor the one behind them.
func (r *ring) reset(number int64) {
	r.entries = nil
	r.begin = max(number, r.next+1)
	r.next = r.begin
}

// first is the number of the oldest event that is kept.
func (r *ring) first() int64 { return r.next - int64(len(r.entries)) }

// add keeps e as the newest event.
func (r *ring) add(e wire.Event) {
	e.Number = r.next
	r.next++
	if len(r.entries) < r.size {
		r.entries = append(r.entries, e)
		return
	}
	r.entries[(e.Number-r.begin)%int64(r.size)] = e
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
