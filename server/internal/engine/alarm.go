package engine

import (
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// budget is how many claims are processed under the mutex before others are let in.
const budget = 256

// ahead is how many changes may be pending before those who make many at once wait for the committer. If very many leases end
// together, or are evicted, other requests then get in between, instead of waiting for a commit of them all.
const ahead = 2 * budget

// ringing is the value of armed while ring works. It is sooner than any deadline, so that nothing arms the alarm.
const ringing = 1

// arm sets the alarm to the table's next deadline, unless it goes off earlier. While too much is pending it does not: the flush after the
// next commit will.
func (e *Engine) arm(now int64) {
	next := e.table.Next()
	if next == 0 || e.armed != 0 && e.armed <= next || len(e.pending.Changes) >= ahead {
		return
	}
	e.armed = next
	e.alarm.Reset(time.Duration(next - now))
}

// ring does what is due, and lets others in between.
func (e *Engine) ring() {
	for more := true; more; e.host.Yield() {
		more = false
		e.do(lock.Reply{}, func(now int64) {
			e.armed = ringing
			more = len(e.pending.Changes) < ahead && e.table.Advance(now, budget)
			if !more {
				e.armed = 0
			}
		})
	}
}
