package wire

import (
	"strconv"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// Code is the stable name of what went wrong: clients decide by it. The table of codes is generated from the contract.
type Code string

type codeRow struct {
	status     int
	title      string // what the status is called
	retryAfter bool
}

// Status is the HTTP status that follows from the code.
func (c Code) Status() int { return codes[c].status }

// RetryAfter tells whether a client should ask again later.
func (c Code) RetryAfter() bool { return codes[c].retryAfter }

// Problem is an error answer, sent as application/problem+json (RFC 9457).
type Problem struct {
	Code   Code
	Detail string
	Field  string       // with invalid_request
	Reason string       // with not_held, and if the server is not ready
	Holds  *lock.Detail // with locked and limit_mismatch

	RetryAfter time.Duration // when to ask again, for a code with which a client should; 0: soon
}

// invalid returns a problem that names the field, what is wrong with it, and what is allowed.
func invalid(field, problem, allowed string) *Problem {
	return &Problem{Code: InvalidRequest, Field: field, Detail: field + " " + problem + "; allowed: " + allowed}
}

// InvalidBody returns a problem with the body as a whole.
func InvalidBody(problem string) *Problem {
	return invalid("body", problem, "one JSON object in UTF-8")
}

// Loading is the answer while there is no engine to ask.
func Loading() *Problem {
	return &Problem{Code: StoreUnavailable, Detail: "the server is loading its locks; ask again", Reason: "loading"}
}

// AppendProblem appends the document.
func AppendProblem(b []byte, p *Problem) []byte {
	row := codes[p.Code]
	b = appendText(b, `{"title":`, row.title)
	b = appendInt(b, `,"status":`, int64(row.status))
	b = appendText(b, `,"code":`, string(p.Code))
	b = appendText(b, `,"detail":`, p.Detail)
	if p.Field != "" {
		b = appendText(b, `,"field":`, p.Field)
	}
	if p.Reason != "" {
		b = appendText(b, `,"reason":`, p.Reason)
	}
	if p.Holds != nil {
		b = appendInTheWay(b, p.Holds)
	}
	return append(b, "}\n"...)
}

// Refusal returns the problem that an answer of the engine stands for, or nil if the operation succeeded.
func Refusal(a *lock.Answer) *Problem {
	switch a.Code {
	case lock.Granted, lock.Queued, lock.Released, lock.Cancelled, lock.ForceReleased, lock.Found, lock.Asked:
		return nil
	case lock.Locked:
		return &Problem{Code: Locked, Detail: "others hold the lock", Holds: a.Detail}
	case lock.LimitMismatch:
		return &Problem{Code: LimitMismatch, Detail: "the lock is held or awaited as another kind: exclusive and shared are one, each limit is another", Holds: a.Detail}
	case lock.IDUsed:
		return &Problem{Code: IDUsed, Detail: "this id was released, expired, evicted or cancelled; take a new one"}
	case lock.NotHeld:
		return notHeld(a.Reason)
	case lock.TokenRequired:
		return &Problem{Code: TokenRequired, Detail: "this owner has several grants of the resource; name one by token or id"}
	case lock.Mismatch:
		return mismatch(a.Field)
	case lock.NotFound:
		return &Problem{Code: NotFound, Detail: "nobody holds this resource"}
	case lock.TooManyLocks:
		return &Problem{Code: TooManyLocks, Detail: "the server holds as many locks as it may (--max-locks); ask again later"}
	case lock.TooManyWaiters:
		return &Problem{Code: TooManyWaiters, Detail: "as many requests wait as may (--max-waiters); ask again later"}
	case lock.StorageFull:
		return &Problem{Code: StorageFull, Detail: "the server has no room to store a grant or a longer lease, and did nothing; ask again later, when there is room"}
	case lock.Draining:
		return &Problem{Code: Draining, Detail: "the server shuts down; ask again"}
	case lock.Unavailable:
		return &Problem{Code: StoreUnavailable, Detail: "the store failed, so what became of this request is unknown; ask again"}
	}
	return &Problem{Code: Internal, Detail: "the server has a bug: an answer with code " + strconv.Itoa(int(a.Code))}
}

func notHeld(why lock.Reason) *Problem {
	p := &Problem{Code: NotHeld}
	switch why {
	case lock.Expired:
		p.Reason, p.Detail = "expired", "the lease ran out"
	case lock.Evicted:
		p.Reason, p.Detail = "evicted", "somebody force-released the lock"
	case lock.OtherHolder:
		p.Reason, p.Detail = "other_holder", "somebody else holds the lock"
	default:
		p.Reason, p.Detail = "unknown", "this owner does not hold the lock, or not any more"
	}
	return p
}

func mismatch(field string) *Problem {
	detail := field + " does not fit what the server knows"
	switch field {
	case "id":
		detail = "id is known with another mode, limit or expire; allowed: the same ones again, or a new id"
	case "token":
		detail = "token and id name two different grants; allowed: those of one grant, or only one of them"
	case "cursor":
		detail = "cursor is none of this server's; allowed: what next was on the page before"
	}
	return &Problem{Code: InvalidRequest, Detail: detail, Field: field}
}
