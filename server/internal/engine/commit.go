package engine

import (
	"context"
	"errors"
	"math/bits"
	"time"

	"github.com/lockserver/lockserver/server/internal/fault"
	"github.com/lockserver/lockserver/server/internal/lock"
)

// The table's effects pass through two batches:
//
//	pending    The table appends to it. Once the batch before it is published, a commit takes it as a whole.
//	inflight   The store makes its changes durable. Then it is published: its events and answers leave.
//
// flush decides about each answer that was added to pending since the last flush:
//
//	it depends on a change that is …   it …
//	durable                            leaves at once
//	in flight                          moves to inflight
//	pending                            stays
//
// If the store is shared, no answer leaves before a commit that began after its operation took effect: it stays in pending, also if there
// is nothing to make durable. That commit shows that this server still had the right to write, so that what its table says was so. One
// commit confirms all answers that came meanwhile.
//
// Events leave in order: with their batch, or at once if there is nothing to commit.

// batch is what one commit makes durable, and what may leave once it is.
type batch struct {
	lock.Effects
	last uint64 // Seq of its newest change
}

// empty empties the slice, but drops a large one. The slice must not keep alive what it referred to.
func empty[T any](s []T) []T {
	if cap(s) > 4096 {
		return nil
	}
	clear(s)
	return s[:0]
}

// CommitStats tells about the commits so far.
type CommitStats struct {
	Commits uint64
	Changes uint64
	Took    lock.Histogram
	Sizes   [12]uint64 // batches of up to 1, 2, 4 … 1024 changes; the last for larger ones

	Confirmed lock.Histogram // time of the commits without changes
}

// CommitStats returns a copy of the counts.
func (e *Engine) CommitStats() CommitStats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.commits
}

// flush ends every operation on the table. It commits what is pending, or wakes the committer for it, lets go what may leave, and sets
// the alarm.
func (e *Engine) flush(now int64) {
	for again := true; again; again = e.instant && len(e.pending.Changes) > 0 {
		if e.instant && len(e.pending.Changes) > 0 {
			if err := e.store.Commit(context.Background(), e.pending.Changes); err != nil {
				e.fail(err)
				return
			}
			e.publish(e.pending, 0)
			e.settled = 0 // what was put off until now may leave
		}
		e.settle(now)
	}
	if e.inflight == nil && len(e.pending.Changes) == 0 {
		e.tell(e.pending)
	}
	if e.inflight == nil && e.due() {
		select {
		case e.work <- struct{}{}:
		default:
		}
	}
	e.arm(now)
}

// due reports whether there is something to commit.
func (e *Engine) due() bool {
	return len(e.pending.Changes) > 0 || e.shared && len(e.pending.Answers) > 0
}

// settle decides about the answers that were added to pending.
func (e *Engine) settle(now int64) {
	if e.shared {
		e.settled = len(e.pending.Answers)
		return
	}
	kept := e.settled
	for i := kept; i < len(e.pending.Answers); i++ { // settling an answer can add more
		due := &e.pending.Answers[i]
		switch {
		case due.After <= e.durable:
			e.send(now, due)
		case e.inflight != nil && due.After <= e.inflight.last:
			e.inflight.Answers = append(e.inflight.Answers, *due)
		default:
			e.pending.Answers[kept] = *due
			kept++
		}
	}
	clear(e.pending.Answers[kept:])
	e.pending.Answers, e.settled = e.pending.Answers[:kept], kept
}

// send gives an answer to its sink, if it is final.
func (e *Engine) send(now int64, due *lock.Due) {
	if e.table.Settle(now, due) {
		due.Send(&due.Answer)
	}
}

// publish notes that the changes of b are durable, and tells its events. Its answers may leave now.
func (e *Engine) publish(b *batch, took time.Duration) {
	n := len(b.Changes)
	if n == 0 { // it was a confirmation
		e.commits.Confirmed.Observe(took)
		e.tell(b)
		return
	}
	e.durable = b.Changes[n-1].Seq
	e.commits.Commits++
	e.commits.Changes += uint64(n)
	e.commits.Took.Observe(took)
	e.commits.Sizes[min(bits.Len(uint(n-1)), len(e.commits.Sizes)-1)]++
	b.Changes = empty(b.Changes)
	e.tell(b)
}

// commit makes what is pending durable and publishes it. It lets others in while the store works. It returns false if the store
// failed.
func (e *Engine) commit() bool {
	b := e.pending
	b.last = 0
	if n := len(b.Changes); n > 0 {
		b.last = b.Changes[n-1].Seq
	}
	e.inflight, e.pending, e.settled = b, e.spare, 0
	e.table.SetEffects(&e.pending.Effects)
	e.taken.Broadcast()
	e.mu.Unlock()
	began := e.host.Now()
	var err error
	if !fault.LostCommit {
		err = e.store.Commit(context.Background(), b.Changes)
	}
	took := e.host.Since(began)
	e.mu.Lock()
	if err != nil {
		e.fail(err)
		return false
	}
	e.inflight = nil
	e.crowd = crowd{len(b.Answers) + len(e.pending.Answers), took}
	e.publish(b, took)
	now := e.now()
	for i := range b.Answers {
		e.send(now, &b.Answers[i])
	}
	b.Answers = empty(b.Answers)
	e.spare = b
	e.flush(now)
	return true
}

// commitLoop commits batch after batch until the store fails or the engine is closed. By then, all that took effect is committed.
func (e *Engine) commitLoop() {
	defer close(e.done)
	for working := true; working; {
		var end error
		switch e.host.Wait(e.work, e.closed, e.store.Lost(), nil) {
		case 1:
			end = ErrClosed
		case 2:
			e.mu.Lock()
			e.fail(e.store.Err())
			e.mu.Unlock()
			return
		}
		e.mu.Lock()
		for e.due() {
			e.gather()
			if !e.commit() {
				break
			}
		}
		if end != nil {
			e.fail(end)
		}
		working = e.err == nil
		e.mu.Unlock()
	}
}

// awaitRoom waits until few changes are pending.
func (e *Engine) awaitRoom() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.pending.Changes) >= ahead {
		e.taken.Wait()
	}
}

// fail ends the engine, unless it has ended. Everybody who waits, for a commit or in a queue, gets lock.Unavailable.
func (e *Engine) fail(err error) {
	if e.err != nil {
		return
	}
	e.err = err
	e.table.Drain(e.now())
	for _, b := range []*batch{e.inflight, e.pending} {
		if b == nil {
			continue
		}
		for i := range b.Answers {
			b.Answers[i].Send(&lock.Answer{Code: lock.Unavailable})
		}
	}
	e.inflight, e.pending, e.settled = nil, &batch{}, 0
	e.table.SetEffects(&e.pending.Effects)
	e.taken.Broadcast()
	for len(e.subscriptions) > 0 {
		e.unsubscribe(e.subscriptions[0])
	}
	if !errors.Is(err, ErrClosed) {
		close(e.failed)
	}
}
