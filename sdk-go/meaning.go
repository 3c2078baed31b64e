package lockserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"unicode/utf8"
)

// meaning is what a status without a code says.
type meaning struct {
	code   Code
	client verdict
}

func statusMeans(status int) meaning {
	if m, ok := withoutCode[status]; ok {
		return m
	}
	return otherStatus
}

// read makes of an answer what it means: out is filled, or the error says what came instead.
func (op *operation) read(a *answer, out reply) error {
	if a.status == http.StatusOK || a.status == http.StatusAccepted && op.queues {
		problem := op.unusable(a, out)
		if problem == "" {
			return nil
		}
		short := fmt.Sprintf("%s answered %d %s", a.peer, a.status, problem)
		return &Error{Code: ErrConnectionFailed, Status: a.status, Message: short + stranger, short: short}
	}
	return op.fault(a)
}

const stranger = ": is this the address of a lockserver?"

// unusable fills out, or says why that cannot be.
func (op *operation) unusable(a *answer, out reply) string {
	if len(a.body) > op.answerMax {
		return fmt.Sprintf("with more than %d bytes", op.answerMax)
	}
	err := decode(a.body, out)
	mistyped := ""
	if err != nil {
		var failure *json.UnmarshalTypeError
		if !errors.As(err, &failure) {
			return "with no JSON object"
		}
		mistyped = failure.Field
	}
	switch member := out.missing(a.status); member {
	case "":
		return ""
	case mistyped:
		return fmt.Sprintf("with an unusable %q", member)
	default:
		return fmt.Sprintf("without %q", member)
	}
}

// decode reads one JSON object. What has another type than out expects is left out of it, and named by the error.
func decode(body []byte, out any) error {
	if plain, ok := out.(plainReply); ok && plain.readPlain(body) {
		return nil
	}
	if !bytes.HasPrefix(bytes.TrimLeft(body, " \t\r\n"), []byte("{")) || !utf8.Valid(body) {
		return errors.New("no JSON object")
	}
	return json.Unmarshal(onlyOurNames(body), out)
}

// fault is an answer that is no success: its code decides what it is, and its status only if it has none, as a proxy's.
func (op *operation) fault(a *answer) error {
	var problem wireProblem
	if a.status >= http.StatusBadRequest && len(a.body) <= op.answerMax {
		_ = decode(a.body, &problem) // what cannot be read is left out
	}
	failure := &Error{
		Code: problem.Code, Message: problem.Detail, Field: problem.Field, Reason: problem.Reason,
		Status: a.status, RetryAfter: a.retryAfter, short: fmt.Sprintf("%s answered %d", a.peer, a.status),
	}
	if failure.Code == "" {
		m := statusMeans(a.status)
		failure.Code, failure.verdict = m.code, m.client
		failure.Field, failure.Reason, failure.Message = "", "", failure.short+" without a lockserver's code"+stranger
		if a.status == http.StatusProxyAuthRequired {
			failure.Message = failure.short + " without a lockserver's code: does a proxy before it ask for a password?"
		}
		return failure
	}
	var known bool
	if failure.verdict, known = verdicts[failure.Code]; !known {
		failure.verdict = statusMeans(a.status).client
	}
	failure.refused = a.status < http.StatusInternalServerError
	failure.short += " " + string(failure.Code)
	if failure.Message == "" {
		failure.Message = problem.Title
	}
	if failure.Code == ErrLocked {
		locked := problem.blockers()
		locked.err = failure
		return locked
	}
	return failure
}
