package engine

import (
	"context"
	"errors"
	"math/bits"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// What the table brings about goes through two batches:
//
//	pending   the table appends to it. The committer takes it as a whole once the batch before it is published.
//	inflight  the store makes its changes durable. Then it is published: its answers and events leave.
//
// flush sees to the answers that the section before it has added to pending:
//
//	rests on a change that is …   the answer …
//	durable                       leaves at once
//	in flight                     moves to inflight
//	pending                       stays
//
// Events leave in their order: with the batch that they are in, or at once if there is nothing to commit.

// batch is what one commit makes durable, and what may leave then.
type batch struct {
	lock.Effects
	last uint64 // Seq of its newest change
}

func (b *batch) reset() {
	// What the batch pointed to must not be kept alive by it.
	clear(b.Changes)
	clear(b.Answers)
	clear(b.Events)
	b.Changes, b.Answers, b.Events = shrink(b.Changes), shrink(b.Answers), shrink(b.Events)
}

// shrink empties the slice, and lets a large one go.
func shrink[T any](s []T) []T {
	if cap(s) > 4096 {
		return nil
	}
	return s[:0]
}

// CommitStats tells about the commits so far.
type CommitStats struct {
	Commits uint64
	Changes uint64
	Took    lock.Histogram
	Sizes   [12]uint64 // batches of up to 1, 2, 4 … 1024 changes; the last for larger ones
}

// CommitStats returns a copy of the counts.
func (e *Engine) CommitStats() CommitStats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.commits
}

// flush ends every section that touched the table. It commits what is pending, at once or by waking the committer, lets go what may
// leave, and sets the alarm.
func (e *Engine) flush(now int64) {
	for again := true; again; again = e.instant && len(e.pending.Changes) > 0 {
		if e.instant && len(e.pending.Changes) > 0 && !e.commit(now) {
			return
		}
		e.settle(now)
	}
	switch {
	case e.inflight != nil:
	case len(e.pending.Changes) == 0:
		e.tell(e.pending.Events)
		clear(e.pending.Events)
		e.pending.Events = e.pending.Events[:0]
	default:
		select {
		case e.work <- struct{}{}:
		default:
		}
	}
	e.arm(now)
}

// settle lets the answers leave that were added to pending and rest on nothing that is to come.
func (e *Engine) settle(now int64) {
	kept := e.settled
	for i := kept; i < len(e.pending.Answers); i++ { // settling an answer can bring new ones, behind it
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

// send hands an answer to its sink.
func (e *Engine) send(now int64, due *lock.Due) {
	if e.table.Settle(now, due) {
		due.Send(&due.Answer)
	}
}

// commit makes what is pending durable, and publishes it. Others are let in while the store works, unless it is instant. It says
// false if the store failed.
func (e *Engine) commit(now int64) bool {
	b := e.pending
	b.last = b.Changes[len(b.Changes)-1].Seq
	e.inflight, e.pending, e.spare, e.settled = b, e.spare, nil, 0
	e.table.SetEffects(&e.pending.Effects)
	e.taken.Broadcast()

	var err error
	var took time.Duration
	if e.instant {
		err = e.store.Commit(context.Background(), b.Changes)
	} else {
		e.mu.Unlock()
		began := time.Now()
		err = e.store.Commit(context.Background(), b.Changes)
		took = time.Since(began)
		e.mu.Lock()
		now = e.now()
	}
	if err != nil {
		e.failLocked(err)
		return false
	}
	e.commits.Commits++
	e.commits.Changes += uint64(len(b.Changes))
	e.commits.Took.Observe(took)
	e.commits.Sizes[min(bits.Len(uint(len(b.Changes)-1)), len(e.commits.Sizes)-1)]++
	e.publish(now, b)
	return true
}

// publish lets go what waited for a batch that is durable now.
func (e *Engine) publish(now int64, b *batch) {
	e.durable, e.inflight = b.last, nil
	e.tell(b.Events)
	for i := range b.Answers {
		e.send(now, &b.Answers[i])
	}
	b.reset()
	e.spare = b
}

// commitLoop commits batch after batch until the engine is closed or the store fails.
func (e *Engine) commitLoop() {
	defer close(e.done)
	for {
		select {
		case <-e.work:
		case <-e.store.Lost():
			e.fail(e.store.Err())
			return
		case <-e.closed:
			// What took effect before is committed; nothing takes effect any more.
			if e.commitAll() {
				e.fail(ErrClosed)
			}
			return
		}
		if !e.commitAll() {
			return
		}
	}
}

// commitAll commits until nothing is left to commit. It says false if the store failed.
func (e *Engine) commitAll() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.pending.Changes) > 0 {
		if !e.commit(e.now()) {
			return false
		}
		e.flush(e.now())
	}
	return true
}

// awaitRoom waits until few changes wait for the committer.
func (e *Engine) awaitRoom() {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.pending.Changes) >= ahead {
		e.taken.Wait()
	}
}

func (e *Engine) fail(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.failLocked(err)
}

// failLocked ends the engine: everybody who waits, for a commit or in a queue, gets lock.Unavailable, the outcome unknown.
func (e *Engine) failLocked(err error) {
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
