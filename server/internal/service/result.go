package service

import (
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// Result is what became of a call, for a front end to write.
type Result struct {
	call    *Call
	answer  lock.Answer
	problem *wire.Problem
	engine  Engine
	ticket  lock.Ticket
}

// Undelivered says that the result did not reach the caller: it was cancelled before the first byte was written, or the write failed.
// A grant then goes back.
func (r *Result) Undelivered() {
	if r.call.Op == wire.Acquire && r.engine != nil {
		r.engine.Leave(r.ticket)
	}
}

// Problem is why the caller did not get what it wanted; nil if it did.
func (r *Result) Problem() *wire.Problem { return r.problem }

// Queued tells whether an acquire keeps its place in the queue.
func (r *Result) Queued() bool { return r.answer.Code == lock.Queued }

// Outcome is how the call went: the code of its problem, or one of a few words. With the operation these are the labels of the
// metrics, so there are few of them.
func (r *Result) Outcome() string {
	if r.problem != nil {
		return string(r.problem.Code)
	}
	switch r.answer.Code {
	case lock.Granted:
		if r.call.Op == wire.Renew {
			return "renewed"
		}
		return "granted"
	case lock.Queued:
		return "queued"
	case lock.Released, lock.Cancelled:
		return wire.ReleaseOutcome(&r.answer)
	}
	return OK
}

// Words for how a request went that are no code.
const (
	OK   = "ok"
	Gone = "gone" // the caller went away before its answer
)

// Append appends the body of the answer.
func (r *Result) Append(b []byte) []byte {
	if r.problem != nil {
		return wire.AppendProblem(b, r.problem)
	}
	f := &r.call.Fields
	resource, owner := f.Text(wire.FieldResource), f.Text(wire.FieldOwner)
	switch r.answer.Code {
	case lock.Granted:
		return wire.AppendGrant(b, resource, owner, &r.answer)
	case lock.Queued:
		return wire.AppendQueued(b, f.Text(wire.FieldID), &r.answer)
	case lock.Released, lock.Cancelled:
		return wire.AppendReleased(b, resource, owner, &r.answer)
	case lock.Evicted:
		return wire.AppendEvicted(b, resource, r.answer.Detail)
	}
	if r.call.Op == wire.List {
		return wire.AppendPage(b, r.answer.Detail)
	}
	return wire.AppendLockAndQueue(b, r.answer.Detail)
}
