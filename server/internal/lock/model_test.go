package lock_test

import (
	"slices"
	"strings"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// model is a second lock table, slow and plain: one list of claims in the order of arrival, searched from end to end for every
// question. It says what each operation has to change and to answer. It has no part in which an answer waits for a
// commit: that is the subject of delay_test.go.
type model struct {
	bounds   lock.Bounds
	claims   []*place
	created  []string // the resources that have claims, in the order of their creation
	ids      map[name]past
	tokens   map[int64]past
	last     int64 // highest token
	arrivals int
	draining bool
	tied     bool // two things fell due at the same instant, and it is up to the table which comes first and gets the lower token

	now     int64
	changes []lock.Change          // of this step; the token of a new grant is 0
	answers map[uint64]lock.Answer // of this step
	granted []grant                // of this step
}

// name is what an acquisition is called by its client.
type name struct{ resource, owner, id string }

// past is how an acquisition ended.
type past struct {
	name  name
	how   ending
	token int64
	at    int64
}

type ending int

const (
	released ending = iota + 1
	expired
	evicted
	cancelled
	barred // released before it was ever seen
)

// place is one acquisition: a holder, or a waiter.
type place struct {
	name
	note    string
	mode    lock.Mode
	limit   int32
	expire  time.Duration
	lease   time.Duration
	maxHold time.Duration
	arrival int

	held     bool
	token    int64
	since    int64 // of the grant, or of the first request
	deadline int64 // of the lease
	holdEnd  int64 // no renewal helps beyond it
	handBack int64

	request uint64   // the newest one, as long as its ticket is good
	told    []uint64 // the requests whose answers told of the grant, the newest first; 0 for one that was lost
	sure    bool     // its client has the grant, whatever was lost
	parked  bool     // it waits
	arrived int64
	until   int64 // end of the wait, or of the kept place
}

// grant is a place and the request that it was granted to.
type grant struct {
	place   *place
	request uint64
}

func newModel(bounds lock.Bounds, last int64) *model {
	return &model{bounds: bounds, last: last, ids: map[name]past{}, tokens: map[int64]past{}}
}

func (m *model) begin(now int64) {
	m.now, m.changes, m.answers, m.granted = now, nil, map[uint64]lock.Answer{}, nil
}

func (m *model) where(keep func(*place) bool) (out []*place) {
	for _, c := range m.claims {
		if keep(c) {
			out = append(out, c)
		}
	}
	return out
}

// holders are in the order of their grants.
func (m *model) holders(resource string) []*place {
	out := m.where(func(c *place) bool { return c.resource == resource && c.held })
	slices.SortStableFunc(out, func(a, b *place) int { return int(a.token - b.token) })
	return out
}

func (m *model) queue(resource string) []*place {
	return m.where(func(c *place) bool { return c.resource == resource && !c.held })
}

func (m *model) present(resource string) []*place {
	return m.where(func(c *place) bool { return c.resource == resource && c.parked })
}

func (m *model) byName(n name) *place {
	for _, c := range m.claims {
		if n.id != "" && c.name == n {
			return c
		}
	}
	return nil
}

// kind is what the resource is held or awaited as.
func (m *model) kind(resource string) (limit int32, some bool) {
	for _, c := range append(m.holders(resource), m.present(resource)...) {
		return c.limit, true
	}
	return 0, false
}

func (m *model) admits(c *place) bool {
	holders := m.holders(c.resource)
	switch c.mode {
	case lock.Semaphore:
		return len(holders) < int(c.limit)
	case lock.Shared:
		return len(holders) == 0 || holders[0].mode == lock.Shared
	default:
		return len(holders) == 0
	}
}

func (m *model) add(c *place) {
	if !slices.Contains(m.created, c.resource) {
		m.created = append(m.created, c.resource)
	}
	m.arrivals++
	c.arrival = m.arrivals
	m.claims = append(m.claims, c)
}

func (m *model) remove(c *place) {
	m.claims = slices.DeleteFunc(m.claims, func(o *place) bool { return o == c })
	if !slices.ContainsFunc(m.claims, func(o *place) bool { return o.resource == c.resource }) {
		m.created = slices.DeleteFunc(m.created, func(r string) bool { return r == c.resource })
	}
}

func (m *model) answer(n uint64, a lock.Answer) { m.answers[n] = a }

// ends is when the grant ends by itself, or 0.
func (c *place) ends() int64 {
	if c.deadline == 0 || c.holdEnd == 0 {
		return max(c.deadline, c.holdEnd)
	}
	return min(c.deadline, c.holdEnd)
}

// begin starts lease and hold of a grant.
func (m *model) beginHold(c *place) {
	c.since, c.deadline, c.holdEnd = m.now, 0, 0
	if c.lease > 0 {
		c.deadline = m.now + int64(c.lease)
	}
	for _, bound := range []time.Duration{c.maxHold, m.bounds.MaxHold} {
		if end := m.now + int64(bound); bound > 0 && (c.holdEnd == 0 || end < c.holdEnd) {
			c.holdEnd = end
		}
	}
}

// due is the next instant at which time alone does something to the claim; 0: never.
func (c *place) due() int64 {
	switch {
	case !c.held:
		return c.until
	case c.handBack != 0 && (c.ends() == 0 || c.handBack < c.ends()):
		return c.handBack
	default:
		return c.ends()
	}
}

func (m *model) next() (at int64) {
	for _, c := range m.claims {
		if d := c.due(); d != 0 && (at == 0 || d < at) {
			at = d
		}
	}
	return at
}

// advance does what has fallen due, the earliest first.
func (m *model) advance() {
	for at := m.next(); at != 0 && at <= m.now; at = m.next() {
		due := m.where(func(c *place) bool { return c.due() == at })
		for i, c := range due {
			for _, o := range due[:i] {
				m.tied = m.tied || o.resource == c.resource || len(m.present(o.resource)) > 0 && len(m.present(c.resource)) > 0
			}
		}
		switch c := due[0]; {
		case c.held && c.ends() != 0 && c.ends() <= m.now:
			m.end(c, expired)
		case c.held:
			m.end(c, cancelled)
		case c.parked && c.id != "":
			m.answer(c.request, m.queued(c))
			m.leaveQueue(c)
		case c.parked:
			n, refused := c.request, c
			m.remove(c)
			m.answer(n, m.refusal(lock.Locked, refused.resource, refused.arrived))
			m.promote(c.resource)
		default:
			m.remove(c)
		}
	}
}

// leaveQueue keeps the place of a waiter with an id, without a request.
func (m *model) leaveQueue(c *place) {
	c.parked, c.request, c.until = false, 0, m.now+int64(lock.PlaceKept)
	m.promote(c.resource)
}

// promote grants to the present waiters in their order, up to the first that has to wait on.
func (m *model) promote(resource string) {
	for _, c := range m.present(resource) {
		if !m.admits(c) {
			return
		}
		m.grant(c)
	}
}

func (m *model) grant(c *place) {
	c.held, c.parked, c.until, c.told = true, false, 0, []uint64{c.request}
	m.beginHold(c)
	m.last++
	c.token = m.last
	m.granted = append(m.granted, grant{c, c.request})
	m.change(c, false)
	m.answer(c.request, m.grantAnswer(c, c.arrived))
}

func (m *model) change(c *place, del bool) {
	rec := lock.Record{Resource: c.resource, Token: c.token}
	if !del {
		rec = c.record()
	}
	m.changes = append(m.changes, lock.Change{Delete: del, Record: rec})
}

func (c *place) record() lock.Record {
	return lock.Record{
		Resource: c.resource, Owner: c.owner, ID: c.id, Note: c.note, Token: c.token, Mode: c.mode, Limit: c.limit,
		Expire: c.expire, Lease: c.lease, MaxHold: c.maxHold,
	}
}

// end takes a grant away for good, and hands the resource on.
func (m *model) end(c *place, how ending) {
	m.free(c, how)
	m.promote(c.resource)
}

func (m *model) free(c *place, how ending) {
	m.change(c, true)
	p := past{name: c.name, how: how, token: c.token, at: m.now}
	m.tokens[c.token] = p
	if c.id != "" {
		m.ids[c.name] = p
	}
	m.remove(c)
}

// lookAgain is the last look before the answers of a step leave: a grant that ended in the same step is not given out under its id,
// and one that a newer request has taken over only to that.
func (m *model) lookAgain() {
	for _, g := range m.granted {
		switch {
		case g.request != g.place.request:
			m.answer(g.request, lock.Answer{Code: lock.Queued, ID: g.place.id, Position: 1, PlaceKept: lock.PlaceKept, Detail: m.inTheWay(g.place.resource, 0)})
		case g.place.id != "" && !slices.Contains(m.claims, g.place):
			m.answer(g.request, lock.Answer{Code: lock.IDUsed})
		}
	}
	m.granted = nil
}

func (m *model) grantAnswer(c *place, arrived int64) lock.Answer {
	a := lock.Answer{Code: lock.Granted, Mode: c.mode, Limit: c.limit, Token: c.token, ID: c.id, Waited: time.Duration(m.now - arrived)}
	a.ExpiresIn = lock.NoLease
	if c.ends() != 0 {
		a.ExpiresIn = time.Duration(c.ends() - m.now)
	}
	if c.holdEnd != 0 {
		a.HoldLeft = time.Duration(c.holdEnd - m.now)
	}
	return a
}

func (m *model) queued(c *place) lock.Answer {
	return lock.Answer{
		Code: lock.Queued, ID: c.id, Position: 1 + slices.Index(m.queue(c.resource), c), PlaceKept: lock.PlaceKept, Detail: m.inTheWay(c.resource, slices.Index(m.queue(c.resource), c)),
	}
}

func (m *model) refusal(code lock.Code, resource string, arrived int64) lock.Answer {
	a := lock.Answer{Code: code, Waited: time.Duration(m.now - arrived)}
	holders := m.holders(resource)
	a.Limit, _ = m.kind(resource)
	if len(holders) > 0 {
		a.Mode = holders[0].mode
	}
	a.Detail = m.inTheWay(resource, len(m.queue(resource)))
	return a
}

func (m *model) inTheWay(resource string, ahead int) *lock.Detail {
	queue := m.queue(resource)
	d := &lock.Detail{Waiters: len(queue), Ahead: m.first(queue[:min(ahead, len(queue))], 10)}
	d.Holders, d.HoldersTotal = m.views(m.holders(resource), 10)
	return d
}

// first are the first places of a queue, without estimates, which have tests of their own.
func (m *model) first(queue []*place, most int) (out []lock.Waiter) {
	for i, c := range queue[:min(most, len(queue))] {
		out = append(out, lock.Waiter{
			Position: i + 1, Owner: c.owner, ID: c.id, Note: c.note, Waited: time.Duration(m.now - c.since), Present: c.parked,
		})
	}
	return out
}

func (m *model) views(holders []*place, most int) (out []lock.Holder, total int) {
	out, total = []lock.Holder{}, len(holders)
	for _, c := range holders {
		if len(out) == most {
			break
		}
		if c.ends() != 0 && c.ends() <= m.now {
			total--
			continue // seen only by a refusal that comes late itself, before the late end of this lease
		}
		h := lock.Holder{Owner: c.owner, ID: c.id, Note: c.note, Token: c.token, HeldFor: time.Duration(m.now - c.since), ExpiresIn: lock.NoLease, Renewed: lock.Never}
		h.Stuck = m.stuck(c)
		if c.ends() != 0 {
			h.ExpiresIn = time.Duration(c.ends() - m.now)
		}
		if c.holdEnd != 0 {
			h.HoldLeft = time.Duration(c.holdEnd - m.now)
		}
		if c.deadline != 0 {
			if at := c.deadline - int64(c.lease); at > c.since {
				h.Renewed = time.Duration(m.now - at)
			}
		}
		out = append(out, h)
	}
	return out, total
}

// stuck reports whether a holder is stuck: it has held for long, and the first in the queue has waited as long.
func (m *model) stuck(c *place) bool {
	queue, before := m.queue(c.resource), m.now-int64(m.bounds.StuckAfter)
	return m.bounds.StuckAfter > 0 && c.since <= before && len(queue) > 0 && queue[0].since <= before
}

func (m *model) view(resource string, most int) lock.Lock {
	holders := m.holders(resource)
	l := lock.Lock{Resource: resource, Mode: holders[0].mode, Limit: holders[0].limit, Waiters: len(m.queue(resource))}
	l.Holders, l.HoldersTotal = m.views(holders, most)
	return l
}

// list is a page of the locks after a resource, "" from the start.
func (m *model) list(q lock.Query, after string) (page []lock.Lock, more bool) {
	names := m.created
	if after != "" {
		names = names[slices.Index(names, after)+1:]
	}
	for _, r := range names {
		holders := m.holders(r)
		if q.Owner != "" {
			holders = slices.DeleteFunc(holders, func(c *place) bool { return c.owner != q.Owner })
		}
		if len(holders) == 0 || !strings.HasPrefix(r, q.Prefix) {
			continue
		}
		if len(page) == q.Size {
			return page, true
		}
		page = append(page, m.view(r, 10))
	}
	return page, false
}
