package engine

import (
	"runtime"
	"time"
)

// slice is how many claims are worked off under the mutex before others are let in.
const slice = 256

// ahead is how many changes may wait for the committer before those who make many at once wait for it, too. Where very many leases end
// together, or are evicted, other requests come in between, instead of after a commit of them all.
const ahead = 2 * slice

// ringing is what armed is while ring works: sooner than any deadline, so that nothing arms the alarm.
const ringing = 1

// arm sets the alarm to the table's next deadline, unless it goes off before.
func (e *Engine) arm(now int64) {
	next := e.table.Next()
	if next == 0 || e.armed != 0 && e.armed <= next {
		return
	}
	e.armed = next
	e.alarm.Reset(time.Duration(next - now))
}

// ring does what is due.
func (e *Engine) ring() {
	for e.advance() {
		runtime.Gosched()
	}
}

// advance works off a slice of what is due, and says whether there is more.
func (e *Engine) advance() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		return false
	}
	if len(e.pending.Changes) >= ahead {
		e.armed = 0 // the flush after the next commit arms it again
		return false
	}
	e.armed = ringing
	now := e.now()
	more := e.table.Advance(now, slice)
	e.flush(now)
	if !more {
		e.armed = 0
		e.arm(now)
	}
	return more
}
