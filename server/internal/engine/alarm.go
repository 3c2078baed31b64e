package engine

import (
	"runtime"
	"time"
)

// budget is how many claims are processed under the mutex before others are let in.
const budget = 256

// ahead is how many changes may be pending before those who make many at once wait for the committer. If very many leases end
// together, or are evicted, other requests then get in between, instead of waiting for a commit of them all.
const ahead = 2 * budget

// ringing is the value of armed while ring works. It is sooner than any deadline, so that nothing arms the alarm.
const ringing = 1

// arm sets the alarm to the table's next deadline, unless it goes off earlier.
func (e *Engine) arm(now int64) {
	next := e.table.Next()
	if next == 0 || e.armed != 0 && e.armed <= next {
		return
	}
	e.armed = next
	e.alarm.Reset(time.Duration(next - now))
}

// ring does what is due, with pauses for others.
func (e *Engine) ring() {
	for e.advance() {
		runtime.Gosched()
	}
}

// advance does some of what is due and reports whether there is more.
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
	more := e.table.Advance(now, budget)
	e.flush(now)
	if !more {
		e.armed = 0
		e.arm(now)
	}
	return more
}
