package engine

import (
	"context"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// walkBudget is how many locks a list looks at under the mutex before it lets others in.
const walkBudget = 512

// Acquire asks for a grant. The answer goes to the sink, unless the ticket is given to Leave first.
func (e *Engine) Acquire(req *lock.Request, to lock.Reply) (ticket lock.Ticket) {
	e.do(to, func(now int64) { ticket = e.table.Acquire(now, req, to) })
	return ticket
}

// Leave says that the request behind the ticket went away without its answer: it was cancelled while it waited or before the first
// byte of the answer was written, or the write failed. A waiter without an id gives up its place; with one its place is kept. A grant
// goes to the next waiter, with an id only if nobody comes back for it. The sink must ignore an answer that still comes.
func (e *Engine) Leave(ticket lock.Ticket) {
	e.do(lock.Reply{}, func(now int64) { e.table.Leave(now, ticket) })
}

// Drain answers every waiter, and every Acquire from now on, with lock.Draining. Other operations go on.
func (e *Engine) Drain() { e.do(lock.Reply{}, e.table.Drain) }

// Release ends a grant, or cancels a waiter named by its id.
func (e *Engine) Release(ref *lock.Ref, to lock.Reply) {
	e.do(to, func(now int64) { e.table.Release(now, ref, to) })
}

// Renew moves the end of a lease to expire from now, but never back. If expire is 0, the lease's own length counts.
func (e *Engine) Renew(ref *lock.Ref, expire time.Duration, to lock.Reply) {
	e.do(to, func(now int64) { e.table.Renew(now, ref, expire, to) })
}

// ForceRelease evicts the holder with that token, or all holders if token is 0. by is who asks, for those who watch. If there are
// many holders, other operations and commits get in between.
func (e *Engine) ForceRelease(resource string, token int64, by string, to lock.Reply) {
	f := &lock.ForceRelease{Resource: resource, Token: token, By: by}
	for more := true; more; e.host.Yield() {
		more = false
		e.awaitRoom()
		e.do(to, func(now int64) { more = e.table.ForceRelease(now, f, budget, to) })
	}
}

// Yield asks the holder with that token, or the first holders if token is 0, to give the lock back. by is who asks.
func (e *Engine) Yield(resource string, token int64, by string, to lock.Reply) {
	e.do(to, func(now int64) { e.table.Yield(now, resource, token, by, to) })
}

// Show answers with one lock and its queue.
func (e *Engine) Show(resource string, to lock.Reply) {
	e.do(to, func(now int64) { e.table.Show(now, resource, to) })
}

// List answers with a page of locks. If it has to look at many, other operations get in between. If ctx ends, it answers with what it
// has by then.
func (e *Engine) List(ctx context.Context, q lock.Query, to lock.Reply) {
	var w *lock.Walk
	for more := true; more; e.host.Yield() {
		ended := ctx.Err() != nil
		more = false
		e.do(to, func(now int64) {
			if w == nil {
				if w = e.table.Walk(q, to); w == nil {
					return
				}
			}
			if more = !ended && !e.table.Step(now, w, walkBudget); !more {
				e.table.EndWalk(w, to)
			}
		})
	}
}

// do runs one operation on the table. If the engine has failed, it answers so to the reply, if there is one.
func (e *Engine) do(to lock.Reply, op func(now int64)) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err == nil {
		now := e.now()
		op(now)
		e.flush(now)
	} else if to.To != nil {
		to.Send(&lock.Answer{Code: lock.Unavailable})
	}
}
