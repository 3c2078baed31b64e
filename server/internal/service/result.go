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

// Undelivered withdraws a grant that did not reach the caller, because it went away before the first byte was written or because the
// write failed. The lock passes to the next waiter.
func (r *Result) Undelivered() {
	if r.call.Op == wire.Acquire && r.engine != nil {
		r.engine.Leave(r.ticket)
	}
}

// Problem returns the error that the call ended with, or nil.
func (r *Result) Problem() *wire.Problem { return r.problem }

// Queued reports whether the answer is that an acquire is still queued.
func (r *Result) Queued() bool { return r.answer.Code == lock.Queued }

// Outcome returns the code of the problem, or a word for how the call succeeded. The metrics use it as a label, so there are only a
// few.
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

// Outcomes that are not codes.
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
	case lock.ForceReleased:
		return wire.AppendEvicted(b, resource, r.answer.Detail)
	}
	if r.call.Op == wire.List {
		return wire.AppendPage(b, r.answer.Detail)
	}
	return wire.AppendLockAndQueue(b, r.answer.Detail)
}
