package simulate_test

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// clients are what all clients together have asked and been told.
type clients struct {
	w        *world
	calls    []*call
	open     []*call             // acquires without an answer, and some that got one just now
	names    []*lock.Request     // the newest acquisitions
	away     *lock.Request       // the one whose client went away last
	grants   map[int64]*grant    // by token: what was told
	told     []*grant            // the same, in their order
	live     map[string][]*grant // the same, by resource, but for those that have ended
	answered []answered          // not looked at yet
	byName   map[name]*acquisition
}

// name is what an acquisition is called.
type name struct{ resource, owner, id string }

// call is one request.
type call struct {
	n       uint64
	s       *server
	what    action
	req     lock.Request
	ref     lock.Ref
	expire  time.Duration
	at      int64
	ticket  lock.Ticket
	left    bool
	done    bool
	late    bool               // the server was closing
	tunnel  *tunnel            // the session that it came by, or nil
	request *request           // on it
	to      lock.Reply         // where the session takes its answer
	code    lock.Code          // of the answer
	full    bool               // the server knew that its store was
	yields  map[int64]uint64   // who wants the grants that it may be told of
	beside  bool               // it goes on beside others, and may come late
	certain *grant             // a release or renewal of a grant that is held for certain
	held    map[int64]struct{} // a look: what was durable by then
	grants  int
	waiters int
}

func (c *call) String() string {
	s := fmt.Sprintf("%d: %s %s %s %s", c.n, c.what, c.req.Resource, c.req.Owner, c.req.ID)
	switch c.what {
	case acquire, again:
		s += fmt.Sprintf(" mode %d limit %d, expire %v, held for %v at most, wait %v", c.req.Mode, c.req.Limit, c.req.Expire, c.req.MaxHold, c.req.Wait)
	case renew:
		s += fmt.Sprintf(" token %d by %v", c.ref.Token, c.expire)
	case release, force, yield:
		s += fmt.Sprintf(" token %d", c.ref.Token)
	}
	return s
}

// end is when its wait is over.
func (c *call) end() int64 {
	wait := c.req.Wait
	if !c.req.Uncapped {
		wait = min(wait, c.s.w.bounds.MaxWait)
	}
	return c.at + int64(wait)
}

func (c *call) name() name { return nameOf(&c.req) }

func nameOf(r *lock.Request) name { return name{r.Resource, r.Owner, r.ID} }

// answered is an answer, as it left.
type answered struct {
	c *call
	a lock.Answer
}

// grant is a lock that a client was told it has.
type grant struct {
	name
	token       int64
	to          []*call // whose answers told it, but for those that did not reach their client
	turns       int     // how often its id was asked for since, or a client of it went away
	mode        lock.Mode
	limit       int32
	lease       time.Duration
	server      *server // that it is held on
	since       int64   // its beginning there, if it is known, else 0
	deadline    int64   // it is held until then, at least; 0: no lease
	holdEnd     int64   // it is not held for longer; 0: no bound
	released    bool    // its client, or an operator, has asked for its end
	undelivered bool    // no answer that told it reached its client
	ended       bool    // its end was told
	over        *server // that told a renewal that the lease was over,
	overAt      int64   // and when
}

// certain reports whether the grant has to be held now.
func (g *grant) certain(now int64) bool {
	return !g.released && !g.undelivered && !g.ended && (g.deadline == 0 || now < g.deadline)
}

// acquisition is what was done with a name, by the numbers of the calls.
type acquisition struct {
	released uint64 // the newest release of it
	left     bool
	leftAt   int64 // when the newest client of it went away
	until    int64 // the earliest end of a wait
	maxHold  time.Duration
	endless  bool // it may have no lease
}

func newClients(w *world) clients {
	return clients{w: w, grants: map[int64]*grant{}, live: map[string][]*grant{}, byName: map[name]*acquisition{}}
}

func (k *clients) acquisition(n name) *acquisition {
	a := k.byName[n]
	if a == nil {
		a = &acquisition{}
		k.byName[n] = a
	}
	return a
}

func (k *clients) resource(n uint32) string { return string(rune('a' + int(n)%k.w.resources)) }

// newRequest is one for a new acquisition, or without a name of its own.
func (k *clients) newRequest(x step) lock.Request {
	r := pick(x.a>>4, k.w.modes)
	r.Resource = k.resource(x.a)
	r.Expire, r.MaxHold = pick(x.b, leases), pick(x.b>>4, k.w.maxHolds)
	n := strconv.Itoa(len(k.calls))
	if x.a>>8%3 == 0 { // without an id, the owner says who it is
		r.Owner = "anonymous " + n
	} else {
		r.Owner, r.ID = "o"+strconv.Itoa(int(x.a>>10)%k.w.owners), n
	}
	return r
}

// longest is how long an acquisition may be held, or 0.
func (w *world) longest(n name) time.Duration {
	d, most := w.acquisition(n).maxHold, w.bounds.MaxHold
	if d == 0 || most != 0 && most < d {
		return most
	}
	return d
}

// lasts is how long a lease lasts that begins now, if it is not renewed; 0: without end.
func (w *world) lasts(n name, lease time.Duration) time.Duration {
	if d := w.longest(n); d != 0 && (lease == 0 || d < lease) {
		return d
	}
	return lease
}

const remembered = 12

// recent is one of the newest acquisitions with an id.
func (k *clients) recent(n uint32) *lock.Request {
	if len(k.names) == 0 {
		return nil
	}
	if n>>12%4 == 0 && k.away != nil { // who went away comes back
		return k.away
	}
	return k.names[len(k.names)-1-int(n)%min(remembered, len(k.names))]
}

func (k *clients) grant(n uint32) *grant {
	if len(k.told) == 0 {
		return nil
	}
	return k.told[len(k.told)-1-int(n)%min(remembered, len(k.told))]
}

// ref names a grant that was told, or any acquisition.
func (k *clients) ref(x step) (lock.Ref, bool) {
	g := k.grant(x.a)
	if r := k.recent(x.a); g == nil || x.b%8 == 0 {
		if r == nil {
			return lock.Ref{}, false
		}
		return lock.Ref{Resource: r.Resource, Owner: r.Owner, ID: r.ID}, true
	}
	ref := lock.Ref{Resource: g.resource, Owner: g.owner}
	switch x.b >> 3 % 8 {
	case 0:
	case 1, 2:
		ref.ID = g.id
	case 3:
		ref.ID, ref.Token = g.id, g.token
	default:
		ref.Token = g.token
	}
	return ref, true
}

func (k *clients) newCall(s *server, what action, req lock.Request) *call {
	c := &call{n: uint64(len(k.calls)) + 1, s: s, what: what, req: req, at: k.w.now, late: s.closing, full: s.engine.Full()}
	k.calls = append(k.calls, c)
	return c
}

// Answer takes an answer. It is looked at after the events that came before it.
func (w *world) Answer(n uint64, a *lock.Answer) {
	c := w.calls[n-1]
	if t := c.tunnel; t != nil {
		if !c.s.dead {
			t.answer(c, a)
		}
		h := t.f.host
		before := h.about
		h.about = t
		c.to.Send(a)
		h.about = before
	}
	if !c.s.dead {
		w.answered = append(w.answered, answered{c, *a})
	}
}

// asked notes what a call may bring about.
func (k *clients) asked(c *call) {
	w, t := k.w, c.s.term
	switch c.what {
	case acquire, again:
		k.open = append(k.open, c)
		if c.req.ID != "" && c.what == acquire {
			k.names = append(k.names, &c.req)
		}
		until := c.end()
		if a := k.acquisition(c.name()); a.until == 0 || until < a.until {
			a.until = until
		}
		if c.what == acquire {
			k.acquisition(c.name()).maxHold = c.req.MaxHold
		}
		if c.req.Expire == 0 {
			k.acquisition(c.name()).endless = true
		}
		t.lengthens(&c.req, c.req.Expire)
		k.turn(c)
		t.wanted(c)
	case renew:
		t.renewed(&c.req, w.now, c.expire)
		k.sure(c)
		t.wanted(c)
	case release:
		k.sure(c)
		if c.ref.Token == 0 && c.ref.ID != "" {
			k.acquisition(c.name()).released = c.n
		} else if c.ref.Token == 0 {
			t.released[name{resource: c.req.Resource, owner: c.req.Owner}] = c.n
		}
		k.over(c.ref.Resource, func(g *grant) bool { return names(&c.ref, g) })
	case force:
		if c.ref.Token == 0 {
			t.forced[c.req.Resource] = c.n
		}
		k.over(c.req.Resource, func(g *grant) bool { return c.ref.Token == 0 || c.ref.Token == g.token })
	case yield:
		for _, g := range k.live[c.req.Resource] {
			if g.certain(w.now) && (c.ref.Token == 0 || c.ref.Token == g.token) {
				c.certain = g
			}
		}
	case show:
		c.held = map[int64]struct{}{}
		for token, r := range w.medium.records {
			if r.Resource == c.req.Resource {
				c.held[token] = struct{}{}
			}
		}
	}
}

// turn notes that a request with the name of grants that were told has come, or that the client of one has left.
func (k *clients) turn(c *call) {
	for _, g := range k.live[c.req.Resource] {
		if g.name == c.name() {
			g.turns++
		}
	}
}

// sure notes that a release or a renewal names a grant which is held for certain.
func (k *clients) sure(c *call) {
	for _, g := range k.live[c.ref.Resource] {
		if (c.ref.ID != "" || c.ref.Token != 0) && names(&c.ref, g) && g.certain(k.w.now) {
			c.certain = g
		}
	}
}

// names reports whether ref may name a grant.
func names(ref *lock.Ref, g *grant) bool {
	return g.owner == ref.Owner && (ref.Token == 0 || ref.Token == g.token) && (ref.ID == "" || ref.ID == g.id)
}

// over notes that nobody can rely on some grants of a resource any more.
func (k *clients) over(resource string, which func(*grant) bool) {
	for _, g := range k.live[resource] {
		if which(g) {
			g.released = true
		}
	}
}

// leave has a client go away, before or just after the answer.
func (w *world) leave(s *server, x step) {
	for try := range 4 {
		if len(w.open) == 0 {
			return
		}
		i := len(w.open) - 1 - (int(x.a)+try)%min(len(w.open), remembered)
		if try == 0 && w.away != nil && x.a>>12%3 == 0 { // all of an acquisition go away
			i = max(slices.IndexFunc(w.open, func(c *call) bool { return c.s == s && c.tunnel == nil && c.name() == nameOf(w.away) }), 0)
		}
		c := w.open[i]
		if c.s != s || c.left || c.tunnel != nil {
			continue
		}
		w.logf("server %d: the client of %d goes away", s.name, c.n)
		w.gone(c)
		s.engine.Leave(c.ticket)
		return
	}
}

// gone notes that the client of an acquire goes away, and that its answer was not delivered.
func (w *world) gone(c *call) {
	c.left = true
	if c.req.ID != "" {
		w.away = &c.req
	}
	a := w.acquisition(c.name())
	a.left, a.leftAt = true, w.now
	w.turn(c)
	w.open = slices.DeleteFunc(w.open, func(o *call) bool { return o == c })
	for _, g := range w.live[c.req.Resource] {
		g.to = slices.DeleteFunc(g.to, func(o *call) bool { return o == c })
		g.undelivered = len(g.to) == 0
	}
}
