package engine

import "time"

// A commit to a shared store is a round trip between machines, and costs all of them nearly the same whatever its size. But who was
// answered by a commit is back only when the next one has begun, so that of many clients each commit would carry a half. gather lets the
// committer wait until as many answers are due as there were clients at the last commit, for a small part of the time that it took at
// most. A single client never waits.

const (
	gatherPart = 8
	gatherMost = 2 * time.Millisecond
)

// crowd says what to gather.
type crowd struct {
	size int           // answers of the last commit, and those that were due when it ended
	took time.Duration // by the last commit
}

// gather waits for the crowd, with the mutex released.
func (e *Engine) gather() {
	wait := min(e.crowd.took/gatherPart, gatherMost)
	if !e.shared || wait == 0 || len(e.pending.Answers) >= e.crowd.size {
		return
	}
	over := make(chan struct{})
	alarm := e.host.AfterFunc(wait, func() { close(over) })
	defer alarm.Stop()
	for more := true; more && len(e.pending.Answers) < e.crowd.size; {
		e.mu.Unlock()
		more = e.host.Wait(e.work, e.closed, e.store.Lost(), over) == 0
		e.mu.Lock()
	}
}
