package lockserver

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/http"
	"time"
	"unicode/utf8"
)

// operation is one kind of request.
type operation struct {
	name, method, path string
	query              bool // the request's members go into the query
	answerMax          int  // bytes
	queues             bool // 202 is an answer too
	session            bool // a session can ask for it
}

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

// What goes over the wire: durations are seconds, null and absent are the same.

type acquireRequest struct {
	Resource string  `json:"resource"`
	Owner    string  `json:"owner"`
	Expire   float64 `json:"expire,omitempty"`
	Wait     float64 `json:"wait,omitempty"`
	ID       string  `json:"id,omitempty"`
	Mode     string  `json:"mode,omitempty"`
	Limit    int     `json:"limit,omitempty"`
	Note     string  `json:"note,omitempty"`
}

type releaseRequest struct {
	Resource string `json:"resource"`
	Owner    string `json:"owner"`
	Token    int64  `json:"token,omitempty"`
	ID       string `json:"id,omitempty"`
}

type renewRequest struct {
	Resource string  `json:"resource"`
	Owner    string  `json:"owner"`
	Token    int64   `json:"token,omitempty"`
	ID       string  `json:"id,omitempty"`
	Expire   float64 `json:"expire,omitempty"`
}

type listRequest struct {
	Prefix string `json:"prefix,omitempty"`
	Owner  string `json:"owner,omitempty"`
	Limit  int    `json:"limit,omitempty"`
	Cursor string `json:"cursor,omitempty"`
}

// lockRequest is of show and force_release.
type lockRequest struct {
	Resource string `json:"resource"`
	Token    int64  `json:"token,omitempty"`
}

// reply is the answer to an operation.
type reply interface {
	// missing names the member without which an answer of this status is of no use, or is empty.
	missing(status int) string
}

// grantAnswer is the answer to acquire and renew. While the acquisition is queued it has a Position and no Token. In one that newGrant
// made, members that do not come stay negative.
type grantAnswer struct {
	Token     int64    `json:"token"`
	ExpiresIn *float64 `json:"expires_in"`
	Waited    float64  `json:"waited"`
	Position  int      `json:"position"`
	wireBlockers
	seconds float64 // what ExpiresIn points to, most often
}

func newGrant() *grantAnswer {
	g := &grantAnswer{}
	g.empty()
	return g
}

func (g *grantAnswer) empty() {
	*g = grantAnswer{seconds: -1, Waited: -1}
	g.ExpiresIn = &g.seconds
}

func (g *grantAnswer) missing(status int) string {
	switch {
	case status == http.StatusAccepted:
		if g.Token = 0; g.Position <= 0 {
			return "position"
		}
	case g.Token <= 0 || g.Token >= 1<<53:
		return "token"
	case g.ExpiresIn != nil && *g.ExpiresIn < 0:
		return "expires_in"
	case g.Waited < 0:
		return "waited"
	}
	return ""
}

type releaseAnswer struct {
	Outcome string `json:"outcome"`
}

func (r *releaseAnswer) missing(int) string { return absent("outcome", r.Outcome == "") }

// keepaliveAnswer is the answer to keepalive.
type keepaliveAnswer struct {
	Renewed int `json:"renewed"`
	Lost    []struct {
		Resource string `json:"resource"`
		Token    int64  `json:"token"`
		Reason   string `json:"reason"`
	} `json:"lost"`
}

func (k *keepaliveAnswer) missing(int) string { return absent("lost", k.Lost == nil) }

// wireBlockers says who stands in the way.
type wireBlockers struct {
	Holders      []wireHolder `json:"holders"`
	HoldersTotal int          `json:"holders_total"`
	Waiters      int          `json:"waiters"`
}

func (b *wireBlockers) blockers() *LockedError {
	return &LockedError{Holders: holders(b.Holders), HoldersTotal: b.HoldersTotal, Waiters: b.Waiters}
}

type wireHolder struct {
	Owner     string   `json:"owner"`
	ID        string   `json:"id"`
	Token     int64    `json:"token"`
	Note      string   `json:"note"`
	HeldFor   float64  `json:"held_for"`
	ExpiresIn *float64 `json:"expires_in"`
	Renewed   *float64 `json:"renewed_ago"`
}

type wireEstimate struct {
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	Holds int     `json:"holds"`
}

func (w *wireEstimate) estimate() Estimate {
	return Estimate{P50: duration(w.P50), P90: duration(w.P90), Holds: w.Holds}
}

type wireWaiter struct {
	Position int     `json:"position"`
	Owner    string  `json:"owner"`
	ID       string  `json:"id"`
	Note     string  `json:"note"`
	Waited   float64 `json:"waited"`
	Present  bool    `json:"present"`

	Estimate wireEstimate `json:"estimate"`
}

type wireLock struct {
	Resource string `json:"resource"`
	Mode     string `json:"mode"`
	Limit    int    `json:"limit"`
	wireBlockers
	Queue    []wireWaiter `json:"queue"`
	Held     wireEstimate `json:"held"`
	Estimate wireEstimate `json:"estimate"`
}

func (w *wireLock) missing(int) string { return absent("holders", w.Holders == nil) }

type wirePage struct {
	Locks []wireLock `json:"locks"`
	Next  string     `json:"next"`
}

func (w *wirePage) missing(int) string { return absent("locks", w.Locks == nil) }

type wireEvicted struct {
	Evicted []wireHolder `json:"evicted"`
}

func (w *wireEvicted) missing(int) string { return absent("evicted", w.Evicted == nil) }

func absent(member string, is bool) string {
	if is {
		return member
	}
	return ""
}

// wireProblem is an application/problem+json answer with the members of every code.
type wireProblem struct {
	Code   Code   `json:"code"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Field  string `json:"field"`
	Reason string `json:"reason"`
	wireBlockers
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
	return json.Unmarshal(body, out)
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

// duration turns wire seconds into a duration, rounded towards zero: a lease must not look longer than it is.
func duration(seconds float64) time.Duration {
	return time.Duration(min(seconds, math.MaxInt64/2/float64(time.Second)) * float64(time.Second))
}

func optionalDuration(seconds *float64) time.Duration {
	if seconds == nil {
		return 0
	}
	return duration(*seconds)
}

// LockInfo is what the server says about a resource that is held or awaited.
type LockInfo struct {
	Resource     string
	Mode         string   // "exclusive" or "shared"; "" for a semaphore
	Limit        int      // permits of a semaphore; 0 for the others
	Holders      []Holder // not always all of them
	HoldersTotal int
	Waiters      int
	Queue        []Waiter // of Show only: the first 100
	Held         Estimate // of Show only: how long it was held lately
	Estimate     Estimate // of Show only: how long who asks now may wait
}

// Estimate is a time by the last times that a resource was held: half of them took up to P50, nine in ten up to P90.
type Estimate struct {
	P50, P90 time.Duration
	Holds    int // of how many; 0 if there is no estimate
}

// Holder is one grant.
type Holder struct {
	Owner     string
	ID        string // "" if the server does not say
	Token     int64
	Note      string
	HeldFor   time.Duration
	ExpiresIn time.Duration // 0: held until released
	Renewed   time.Duration // since the last renewal; negative if there was none, or if the server does not say
}

// Waiter is one acquisition that waits.
type Waiter struct {
	Position int      // 1 is next
	Estimate Estimate // how long it may still wait
	Owner    string
	ID       string
	Note     string
	Waited   time.Duration
	Present  bool // false: its connection is gone, and its place is kept for a while
}

// ListOptions narrows [Client.List]. Zero fields do not.
type ListOptions struct {
	Prefix string // of the resource
	Owner  string // of a holder
	Limit  int    // of a page; the server has a default and a maximum
	Cursor string // Next of the page before
}

// Page is a part of all locks.
type Page struct {
	Locks []LockInfo
	Next  string // the cursor of the next page; "" after the last
}

func (w *wireLock) info() *LockInfo {
	info := &LockInfo{
		Resource: w.Resource, Mode: w.Mode, Limit: w.Limit,
		Holders: holders(w.Holders), HoldersTotal: w.HoldersTotal, Waiters: w.Waiters,
		Held: w.Held.estimate(), Estimate: w.Estimate.estimate(),
	}
	for _, q := range w.Queue {
		info.Queue = append(info.Queue, Waiter{
			Position: q.Position, Owner: q.Owner, ID: q.ID, Note: q.Note, Waited: duration(q.Waited), Present: q.Present,
			Estimate: q.Estimate.estimate(),
		})
	}
	return info
}

func holders(wire []wireHolder) []Holder {
	list := make([]Holder, len(wire))
	for i, h := range wire {
		list[i] = Holder{
			Owner: h.Owner, ID: h.ID, Token: h.Token, Note: h.Note,
			HeldFor: duration(h.HeldFor), ExpiresIn: optionalDuration(h.ExpiresIn), Renewed: -1,
		}
		if h.Renewed != nil {
			list[i].Renewed = duration(*h.Renewed)
		}
	}
	return list
}

// undone says what did not come about.
func (op *operation) undone(resource string) string {
	participle := "released"
	switch op {
	case &opList:
		return "the list did not come"
	case &opAcquire:
		participle = "granted"
	case &opRenew:
		participle = "renewed"
	case &opShow:
		participle = "shown"
	case &opStats:
		return "the statistics did not come"
	case &opYield:
		return fmt.Sprintf("the holders of %q were not asked", resource)
	case &opFollow:
		return "the events did not come"
	case &opHistory:
		return fmt.Sprintf("the history of %q did not come", resource)
	}
	return fmt.Sprintf("resource %q was not %s", resource, participle)
}

// roughly is a time for people that pass by: 0.3 s, 12 s.
func roughly(d time.Duration) string {
	if d < 10*time.Second {
		return inSeconds(d.Round(100 * time.Millisecond))
	}
	return inSeconds(d.Round(time.Second))
}
