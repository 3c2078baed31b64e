package simulate_test

import (
	"encoding/json"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/gobwas/ws"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// request is one that was sent on a session, or a renewal that a keepalive makes of it.
type request struct {
	seq      int64
	what     action
	wrong    string // the field that is wrong
	req      lock.Request
	ref      lock.Ref
	expire   time.Duration
	sent     uint64 // t.order by then
	begun    uint64 // t.order when the engine was asked
	call     *call
	ticket   lock.Ticket
	group    *group // of a renewal
	active   bool   // it counts as one on its way
	answered bool   // by the engine
	handed   bool   // its answer was taken from the server as a whole
	left     bool   // its ticket was given back
}

func (r *request) String() string {
	if r == nil {
		return "nothing"
	}
	return fmt.Sprintf("%s %v %v by %v", r.what, r.req, r.ref, r.expire)
}

// group is the renewals of one keepalive.
type group struct {
	to       lock.Sink
	requests []*request
	tokens   map[int64]bool
	waits    int
	failed   bool
	done     uint64 // t.order when the last of them was answered
	renewed  int
	shortest time.Duration
	lost     map[int64]string
}

// message is what a session is to say: an answer of the engine, or an event.
type message struct {
	r      *request
	event  string
	reason string
	token  int64
	a      lock.Answer
	order  uint64 // t.order by then
}

// bound is a moment when the session went on reading, and which answers were unsent.
type bound struct {
	first, last *message
	before      int // the size of all answers before the first
}

// renewal is the request that a keepalive makes, or nil if it is none.
func (t *tunnel) renewal(ref *lock.Ref, to lock.Reply) *request {
	if t == nil {
		return nil
	}
	i := slices.IndexFunc(t.groups, func(g *group) bool { return g.to == to.To })
	if i < 0 {
		if t.sink == nil || t.sink == to.To {
			return nil
		}
		t.groups = append(t.groups, &group{to: to.To, tokens: map[int64]bool{}, lost: map[int64]string{}, shortest: lock.NoLease})
		i = len(t.groups) - 1
	}
	g := t.groups[i]
	t.w.check(!g.tokens[ref.Token], "session %d: a keepalive renews grant %d twice", t.n, ref.Token)
	g.tokens[ref.Token] = true
	g.waits++
	r := &request{what: renew, ref: *ref, group: g}
	g.requests = append(g.requests, r)
	return r
}

// Answer passes the answer to a call of a session on. It is under the engine's mutex, so it only takes notes.
func (t *tunnel) answer(c *call, a *lock.Answer) {
	r := c.request
	r.answered, c.code = true, a.Code
	if r.active {
		t.active--
	}
	if t.over || t.deaf {
		return
	}
	t.order++
	if g := r.group; g != nil {
		t.answerRenewal(r, a)
		return
	}
	t.expects(&message{r: r, a: *a})
	switch {
	case a.Code == lock.Granted && c.req.ID != "":
		if _, known := t.held[a.Token]; !known {
			t.held[a.Token] = held{a.ExpiresIn != lock.NoLease, t.order}
		}
		t.f.holders[a.Token] = t
	case a.Code == lock.Released && a.Token != 0:
		if _, mine := t.held[a.Token]; mine {
			t.forget(a.Token)
			t.released[a.Token] = t.order
		}
	}
}

// expects notes what the session is to say next.
func (t *tunnel) expects(m *message) {
	t.order++
	m.order = t.order
	t.queue = append(t.queue, m)
}

func (t *tunnel) forget(token int64) {
	delete(t.held, token)
	if t.f.holders[token] == t {
		delete(t.f.holders, token)
	}
}

func (t *tunnel) answerRenewal(r *request, a *lock.Answer) {
	g := r.group
	g.waits--
	g.done = t.order
	switch a.Code {
	case lock.Granted:
		if g.renewed == 0 || a.ExpiresIn < g.shortest {
			g.shortest = a.ExpiresIn
		}
		g.renewed++
	case lock.NotHeld:
		if _, mine := t.held[r.ref.Token]; mine { // else the client has released it, or was told
			g.lost[r.ref.Token] = reasons[a.Reason]
		}
	default:
		g.failed = true
	}
}

// begins notes that the session goes on with another request.
func (t *tunnel) begins() {
	var first, last *message
	for _, m := range t.queue {
		if m.r != nil {
			if last = m; first == nil {
				first = m
			}
		}
	}
	if first != nil {
		t.bounds = append(t.bounds, bound{first, last, t.size})
	}
}

// reply is what the server says, whatever it is.
type reply struct {
	Seq, Token        int64
	Status            int
	Event, Code       string
	Outcome, ID       string
	Reason, Field, By string
	Mode              string
	Limit             int32
	YieldTo           string   `json:"yield_to"`
	ExpiresIn         *float64 `json:"expires_in"`
	HoldLeft          float64  `json:"max_hold_left"`
	Shortest          *float64
	Waited, PlaceKept float64
	Position          int
	Holders           []struct{ Token int64 }
	HoldersTotal      int `json:"holders_total"`
	Renewed           int
	Lost              []struct {
		Token  int64
		Reason string
	}
}

var codes = map[lock.Code]string{
	lock.Locked: "locked", lock.LimitMismatch: "limit_mismatch", lock.IDUsed: "id_used", lock.NotHeld: "not_held", lock.TokenRequired: "token_required",
	lock.Mismatch: "invalid_request", lock.NotFound: "not_found", lock.TooManyLocks: "too_many_locks", lock.TooManyWaiters: "too_many_waiters",
	lock.StorageFull: "storage_full", lock.Draining: "draining", lock.Unavailable: "store_unavailable",
}

var reasons = map[lock.Reason]string{lock.Unknown: "unknown", lock.Expired: "expired", lock.Evicted: "evicted", lock.OtherHolder: "other_holder"}

// hear takes a message of the server.
func (t *tunnel) hear(text []byte) {
	w := t.w
	if text[0] != '[' {
		t.hearOne(text)
		return
	}
	var all []json.RawMessage
	err := json.Unmarshal(text, &all)
	w.blame(err == nil, "session %d got what is no JSON: %v: %s", t.n, err, text)
	w.blame(len(all) > 1 && len(all) <= wire.SessionRequests, "session %d got %d in one message", t.n, len(all))
	for _, one := range all {
		t.hearOne(one)
	}
}

func (t *tunnel) hearOne(text []byte) {
	w := t.w
	if w.verbose {
		w.logf("  session %d: %s", t.n, text)
	}
	var r reply
	err := json.Unmarshal(text, &r)
	w.blame(err == nil, "session %d got what is no JSON: %v: %s", t.n, err, text)
	if r.Event != "" {
		t.hearEvent(&r)
		return
	}
	q := t.requests[r.Seq]
	if q == nil {
		w.blame(false, "session %d got an answer to %d, which is none of its requests: %s", t.n, r.Seq, text)
		return
	}
	delete(t.requests, r.Seq)
	q.handed = true
	switch {
	case q.wrong != "":
		w.blame(r.Code == "invalid_request" && r.Field == q.wrong, "session %d: %s is wrong in %q, and answered %s", t.n, q, q.wrong, text)
	case q.call == nil && r.Reason == "loading":
		w.blame(t.f.stands, "session %d: told that the server loads: %s", t.n, text)
	case q.what == keepalive:
		t.hearKept(q, &r)
	default:
		t.hearAnswer(q, &r, len(text))
	}
}

// next takes the message that is to come next.
func (t *tunnel) next() *message {
	if len(t.queue) == 0 {
		return &message{}
	}
	m := t.queue[0]
	t.queue, t.heard = t.queue[1:], m.order
	return m
}

func (t *tunnel) hearEvent(r *reply) {
	w, m := t.w, t.next()
	reason := r.Reason
	switch r.Event {
	case "draining":
		t.drains = true
	case "lost":
		t.lost[r.Token] = true
	case "yield":
		reason = r.By
	}
	w.blame(m.event == r.Event && m.token == r.Token && m.reason == reason, "session %d is told of %v, but %v was to come", t.n, *r, *m)
}

// hearAnswer holds an answer against that of the engine.
func (t *tunnel) hearAnswer(q *request, r *reply, size int) {
	w, m := t.w, t.next()
	if m.r != q {
		w.blame(false, "session %d is answered %v, but %v was to come", t.n, *r, *m)
		return
	}
	a := &m.a
	same := r.Code == codes[a.Code]
	switch a.Code {
	case lock.Granted:
		same = r.Status == 200 && r.Token == a.Token && r.ID == a.ID && r.YieldTo == a.YieldTo && is(r.ExpiresIn, a.ExpiresIn) && is(&r.Waited, a.Waited) && is(&r.HoldLeft, a.HoldLeft)
		w.blame(!t.lost[a.Token], "session %d is told that it has grant %d, after it was told that it is lost", t.n, a.Token)
	case lock.Queued:
		same = r.Status == 202 && r.ID == a.ID && r.Position == a.Position
	case lock.Released, lock.Cancelled:
		same = r.Status == 200 && r.Token == a.Token && (r.Outcome == "released") == (a.Code == lock.Released)
	case lock.Found:
		same = r.Status == 200 && r.HoldersTotal == a.Detail.Locks[0].HoldersTotal && len(r.Holders) == len(a.Detail.Locks[0].Holders)
	case lock.NotHeld:
		same = same && r.Reason == reasons[a.Reason]
	case lock.Mismatch:
		same = same && r.Field == a.Field
	case lock.Locked, lock.LimitMismatch:
		same = same && r.HoldersTotal == a.Detail.HoldersTotal
	case lock.Draining:
		w.blame(t.drains, "session %d is answered draining before it was told so", t.n)
	}
	w.blame(same, "session %d: %s is answered %v, but the engine said %v", t.n, q, *r, *a)
	t.size += size
	for len(t.bounds) > 0 && t.bounds[0].last == m {
		unsent := t.size - t.bounds[0].before
		w.blame(unsent <= w.sessions.unsent, "session %d went on with %d bytes unsent, allowed %d", t.n, unsent, w.sessions.unsent)
		t.bounds = t.bounds[1:]
	}
}

// is reports whether a number of seconds stands for a time.
func is(s *float64, d time.Duration) bool {
	if s == nil {
		return d == lock.NoLease
	}
	return d != lock.NoLease && int64(math.Round(*s*1000)) == d.Milliseconds()
}

// hearKept holds the answer to a keepalive against the renewals that were made for one, which must be of all that the session holds.
func (t *tunnel) hearKept(q *request, r *reply) {
	w := t.w
	if r.Code == "store_unavailable" && (t.f.s.store.failed || t.f.stands || t.f.s.closing) { // it tells of no loss, so it forgets none
		if i := slices.IndexFunc(t.groups, func(g *group) bool { return g.failed && t.due(g) }); i >= 0 {
			t.groups = slices.Delete(t.groups, i, i+1)
		}
		return
	}
	lost := map[int64]string{}
	for _, l := range r.Lost {
		lost[l.Token] = l.Reason
		w.blame(!t.lost[l.Token], "session %d is told twice that it has lost grant %d", t.n, l.Token)
	}
	g := &group{}
	if i := slices.IndexFunc(t.groups, func(g *group) bool { return t.says(r, g, lost) }); i >= 0 {
		g = t.groups[i]
		t.groups = slices.Delete(t.groups, i, i+1)
	} else {
		w.blame(t.says(r, g, lost), "session %d: a keepalive is answered %v, but no renewals say so", t.n, *r)
	}
	for token := range lost {
		t.lost[token] = true
		t.forget(token)
		t.queue = slices.DeleteFunc(t.queue, func(m *message) bool { return m.event != "" && m.token == token }) // it knows
	}
	for token, h := range t.held {
		w.blame(!h.leased || h.since > q.sent || g.tokens[token], "session %d: a keepalive does not renew grant %d", t.n, token)
	}
}

// due reports whether the keepalive of a group is the one that is answered now, by the time when the last of its renewals was.
func (t *tunnel) due(g *group) bool {
	return g.waits == 0 && g.done >= t.heard && (len(t.queue) == 0 || g.done <= t.queue[0].order)
}

// says reports whether the renewals of a keepalive were answered as r has it. What was found to be lost is told, unless the client knows.
func (t *tunnel) says(r *reply, g *group, lost map[int64]string) bool {
	if r.Code != "" || g.failed || g.renewed != r.Renewed || g.renewed > 0 && !is(r.Shortest, g.shortest) || g.renewed == 0 && r.Shortest != nil {
		return false
	}
	if len(g.tokens) > 0 && !t.due(g) {
		return false
	}
	for token, reason := range lost {
		if g.lost[token] != reason {
			return false
		}
	}
	for token := range g.lost {
		if lost[token] == "" && !t.lost[token] && (t.released[token] == 0 || t.released[token] > g.done) {
			return false
		}
	}
	return true
}

// closing takes the close frame.
func (t *tunnel) closing(text []byte) {
	t.close = ws.StatusCode(int(text[0])<<8 | int(text[1]))
	orderly := t.close == ws.StatusGoingAway && (t.f.s.draining || t.f.stands)
	t.w.blame(orderly || t.close == t.closes, "session %d is closed with %d: %s", t.n, t.close, text[2:])
	if orderly && t.closes == 0 {
		for _, r := range t.requests {
			crosses := r.call == nil || r.begun > t.writes // it came as the close frame left
			t.w.blame(crosses, "session %d is closed, but %s has no answer", t.n, r)
		}
	}
}

// byTicket is the request that a ticket was given for.
func (t *tunnel) byTicket(ticket lock.Ticket) *request {
	for _, r := range t.given {
		if r.ticket == ticket {
			return r
		}
	}
	return nil
}

// end checks what must be so when a session has ended: of each acquisition either the answer was delivered, or its ticket was given back.
func (t *tunnel) end() {
	t.over = true
	for token, o := range t.f.holders {
		if o == t {
			delete(t.f.holders, token)
		}
	}
	for _, r := range t.given {
		t.w.check(r.handed || r.left || r.ticket == (lock.Ticket{}), "session %d has ended, but %s was neither answered nor given back", t.n, r)
	}
}
