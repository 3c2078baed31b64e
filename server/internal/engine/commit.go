package engine

import (
	"context"
	"errors"
	"log/slog"
	"math/bits"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// batch is what one commit makes durable, and the answers that wait for it.
type batch struct {
	lock.Effects
	last uint64 // Seq of its newest change
}

func (b *batch) reset() {
	// What the batch pointed to must not be kept alive by it.
	clear(b.Changes)
	clear(b.Answers)
	clear(b.Expired)
	b.Changes, b.Answers, b.Expired = shrink(b.Changes), shrink(b.Answers), shrink(b.Expired)
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

// mark is where the next answer will stand in the pending batch.
func (e *Engine) mark() int { return len(e.pending.Answers) }

// flush ends every section that touched the table. It lets the answers from mark on go, or leaves them where what they rest on
// becomes durable, and sees to it that new changes are committed and that the alarm goes off in time.
func (e *Engine) flush(now int64, mark int) {
	if e.instant && len(e.pending.Changes) > 0 && !e.commitHere() {
		return
	}
	kept := mark
	for i := mark; i < len(e.pending.Answers); i++ { // settling an answer can bring new ones, behind it
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
	e.pending.Answers = e.pending.Answers[:kept]
	if len(e.pending.Changes) > 0 && e.inflight == nil {
		select {
		case e.work <- struct{}{}:
		default:
		}
	}
	e.arm(now)
}

// send hands an answer to its sink.
func (e *Engine) send(now int64, due *lock.Due) {
	if e.table.Settle(now, due) {
		due.Send(&due.Answer)
	}
}

// commitHere commits the pending changes to a store that does it at once. It says false where the store failed.
func (e *Engine) commitHere() bool {
	changes := e.pending.Changes
	if err := e.store.Commit(context.Background(), changes); err != nil {
		e.failLocked(err)
		return false
	}
	e.committed(changes, 0)
	e.logExpired(e.pending)
	clear(changes)
	clear(e.pending.Expired)
	e.pending.Changes, e.pending.Expired = shrink(changes), shrink(e.pending.Expired)
	return true
}

func (e *Engine) logExpired(b *batch) {
	if len(b.Expired) == 0 || !e.log.Enabled(context.Background(), slog.LevelDebug) {
		return
	}
	for _, x := range b.Expired {
		e.log.Debug("lease expired", "resource", x.Resource, "owner", x.Owner, "token", x.Token)
	}
}

// committed notes that changes have become durable.
func (e *Engine) committed(changes []lock.Change, took time.Duration) {
	e.durable = changes[len(changes)-1].Seq
	e.commits.Commits++
	e.commits.Changes += uint64(len(changes))
	e.commits.Took.Observe(took)
	e.commits.Sizes[min(bits.Len(uint(len(changes)-1)), len(e.commits.Sizes)-1)]++
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

// commitAll commits until nothing is left to commit. It says false where the store failed.
func (e *Engine) commitAll() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	for len(e.pending.Changes) > 0 {
		b := e.pending
		b.last = b.Changes[len(b.Changes)-1].Seq
		e.inflight, e.pending = b, e.spare
		e.table.SetEffects(&e.pending.Effects)
		e.taken.Broadcast()
		e.mu.Unlock()

		began := time.Now()
		err := e.store.Commit(context.Background(), b.Changes)
		took := time.Since(began)
		e.logExpired(b)

		e.mu.Lock()
		if err != nil {
			e.failLocked(err)
			return false
		}
		e.committed(b.Changes, took)
		e.inflight = nil
		mark, now := e.mark(), e.now()
		for i := range b.Answers {
			e.send(now, &b.Answers[i])
		}
		b.reset()
		e.spare = b
		e.flush(now, mark)
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
	e.inflight, e.pending = nil, &batch{}
	e.table.SetEffects(&e.pending.Effects)
	e.taken.Broadcast()
	if !errors.Is(err, ErrClosed) {
		close(e.failed)
	}
}
