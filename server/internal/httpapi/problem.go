package httpapi

import (
	"net/http"
	"strconv"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// problem is an answer that says no, as application/problem+json (RFC 9457).
type problem struct {
	code   code
	detail string
	field  string       // with invalid_request
	reason string       // with not_held, and where the server is not ready
	holds  *lock.Detail // with locked and limit_mismatch
	allow  string       // with method_not_allowed
	unread bool         // the body of the request was not read to its end
}

func (e *invalid) asProblem() *problem {
	return &problem{code: codeInvalidRequest, detail: e.Error(), field: e.field}
}

func loading() *problem {
	return &problem{code: codeStoreUnavailable, detail: "the server is loading its locks; ask again", reason: "loading"}
}

func appendProblem(b []byte, p *problem) []byte {
	status, _ := p.code.row()
	b = append(b, `{"title":`...)
	b = appendString(b, http.StatusText(status))
	b = append(b, `,"status":`...)
	b = strconv.AppendInt(b, int64(status), 10)
	b = append(b, `,"code":`...)
	b = appendString(b, string(p.code))
	b = append(b, `,"detail":`...)
	b = appendString(b, p.detail)
	if p.field != "" {
		b = append(b, `,"field":`...)
		b = appendString(b, p.field)
	}
	if p.reason != "" {
		b = append(b, `,"reason":`...)
		b = appendString(b, p.reason)
	}
	if p.holds != nil {
		b = appendInTheWay(b, p.holds)
	}
	return append(b, "}\n"...)
}

// refusal says what an answer of the engine means to a client that did not get what it wanted.
func refusal(a *lock.Answer) *problem {
	switch a.Code {
	case lock.Locked:
		return &problem{code: codeLocked, detail: "others hold the lock", holds: a.Detail}
	case lock.LimitMismatch:
		return &problem{code: codeLimitMismatch, detail: "the lock is held or awaited as another kind: exclusive and shared are one, each limit is another", holds: a.Detail}
	case lock.IDUsed:
		return &problem{code: codeIDUsed, detail: "this id was released, expired, evicted or cancelled; take a new one"}
	case lock.NotHeld:
		return notHeld(a.Reason)
	case lock.TokenRequired:
		return &problem{code: codeTokenRequired, detail: "this owner has several grants of the resource; name one by token or id"}
	case lock.Mismatch:
		return mismatch(a.Field)
	case lock.NotFound:
		return &problem{code: codeNotFound, detail: "nobody holds this resource"}
	case lock.TooManyLocks:
		return &problem{code: codeTooManyLocks, detail: "the server holds as many locks as it may (--max-locks); ask again later"}
	case lock.TooManyWaiters:
		return &problem{code: codeTooManyWaiters, detail: "as many requests wait as may (--max-waiters); ask again later"}
	case lock.Draining:
		return &problem{code: codeDraining, detail: "the server shuts down; ask again"}
	case lock.Unavailable:
		return &problem{code: codeStoreUnavailable, detail: "the store failed, so what became of this request is unknown; ask again"}
	}
	return &problem{code: codeInternal, detail: "the server has a bug: an answer with code " + strconv.Itoa(int(a.Code))}
}

func notHeld(why lock.Reason) *problem {
	p := &problem{code: codeNotHeld}
	switch why {
	case lock.Expired:
		p.reason, p.detail = "expired", "the lease ran out"
	case lock.EvictedBy:
		p.reason, p.detail = "evicted", "somebody force-released the lock"
	case lock.OtherHolder:
		p.reason, p.detail = "other_holder", "somebody else holds the lock"
	default:
		p.reason, p.detail = "unknown", "this owner does not hold the lock, or not any more"
	}
	return p
}

func mismatch(field string) *problem {
	detail := field + " does not fit what the server knows"
	switch field {
	case "id":
		detail = "id is known with another mode, limit or expire; allowed: the same ones again, or a new id"
	case "token":
		detail = "token and id name two different grants; allowed: those of one grant, or only one of them"
	case "cursor":
		detail = "cursor is none of this server's; allowed: what next was on the page before"
	}
	return &problem{code: codeInvalidRequest, detail: detail, field: field}
}
