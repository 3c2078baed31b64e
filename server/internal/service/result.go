package service

import (
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// Result is what became of a call, for a front end to write.
type Result struct {
	Op                  wire.Operation
	Resource, Owner, ID string                // as in the call
	Ticket              Ticket                // for an acquire: to leave if the result is not delivered
	Problem             *wire.Problem         // nil if the caller got what it wanted
	Body                func(b []byte) []byte // appends the body of an answer that is not the engine's
	answer              lock.Answer
}

func (c *Call) result() Result {
	f := &c.Fields
	return Result{Op: c.Op, Resource: f.Text(wire.FieldResource), Owner: f.Text(wire.FieldOwner), ID: f.Text(wire.FieldID)}
}

// Set makes an answer of the engine the result.
func (r *Result) Set(a *lock.Answer) {
	r.answer = *a
	r.Problem = wire.Refusal(a)
}

// Status returns the HTTP status.
func (r *Result) Status() int {
	switch {
	case r.Problem != nil:
		return r.Problem.Code.Status()
	case r.answer.Code == lock.Queued:
		return 202
	}
	return 200
}

// Outcome returns the code of the problem, or a word for how the call succeeded. The metrics use it as a label, so there are only a
// few.
func (r *Result) Outcome() string {
	if r.Problem != nil {
		return string(r.Problem.Code)
	}
	switch r.answer.Code {
	case lock.Granted:
		if r.Op == wire.Renew {
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

	Forwarded = "forwarded" // another server has answered
)

// Append appends the body of the answer.
func (r *Result) Append(b []byte) []byte {
	if r.Problem != nil {
		return wire.AppendProblem(b, r.Problem)
	}
	if r.Body != nil {
		return r.Body(b)
	}
	switch r.answer.Code {
	case lock.Granted:
		return wire.AppendGrant(b, r.Resource, r.Owner, &r.answer)
	case lock.Queued:
		return wire.AppendQueued(b, r.ID, &r.answer)
	case lock.Released, lock.Cancelled:
		return wire.AppendReleased(b, r.Resource, r.Owner, &r.answer)
	case lock.ForceReleased:
		return wire.AppendTold(b, r.Resource, "evicted", r.answer.Detail)
	case lock.Asked:
		return wire.AppendTold(b, r.Resource, "asked", r.answer.Detail)
	}
	if r.Op == wire.List {
		return wire.AppendPage(b, r.answer.Detail)
	}
	return wire.AppendLockAndQueue(b, r.answer.Detail)
}
