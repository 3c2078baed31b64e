package lock_test

import (
	"slices"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// The operations of the model. Each says in m.answers what it answers under the number n, and what it brings to others.

// acquire is told whether the table still remembers ids that ended more than a minute ago: both are right.
func (m *model) acquire(n uint64, req lock.Request, remembers bool) {
	m.advance()
	me := name{req.Resource, req.Owner, req.ID}
	if m.draining {
		m.answer(n, lock.Answer{Code: lock.Draining})
		return
	}
	wait := min(req.Wait, m.bounds.MaxWait)
	if c := m.byName(me); c != nil {
		m.resume(n, c, req, wait)
		return
	}
	if req.ID != "" && m.recalls(me, remembers) {
		m.answer(n, lock.Answer{Code: lock.IDUsed})
		return
	}
	if limit, some := m.kind(req.Resource); some && limit != req.Limit {
		m.answer(n, m.refusal(lock.LimitMismatch, req.Resource, m.now))
		return
	}
	c := &place{
		name: me, note: req.Note, mode: req.Mode, limit: req.Limit, expire: req.Expire, lease: req.Expire, maxHold: req.MaxHold, since: m.now,
		request: n, arrived: m.now, until: m.now + int64(wait),
	}
	switch free := len(m.present(req.Resource)) == 0 && m.admits(c); {
	case free && len(m.where(func(c *place) bool { return c.held })) >= m.bounds.MaxLocks:
		m.answer(n, lock.Answer{Code: lock.TooManyLocks})
	case free:
		m.add(c)
		m.grant(c)
	case wait == 0:
		m.answer(n, m.refusal(lock.Locked, req.Resource, m.now))
	case len(m.where(func(c *place) bool { return !c.held })) >= m.bounds.MaxWaiters:
		m.answer(n, lock.Answer{Code: lock.TooManyWaiters})
	default:
		c.parked = true
		m.add(c)
	}
}

// recalls reports whether the id has ended and is remembered.
func (m *model) recalls(n name, remembers bool) bool {
	p, ok := m.ids[n]
	if ok && m.now-p.at > int64(time.Minute) && !remembers {
		delete(m.ids, n)
		return false
	}
	return ok
}

func (m *model) resume(n uint64, c *place, req lock.Request, wait time.Duration) {
	if c.mode != req.Mode || c.limit != req.Limit || c.expire != req.Expire || c.maxHold != req.MaxHold {
		m.answer(n, lock.Answer{Code: lock.Mismatch, Field: "id"})
		return
	}
	if c.held {
		undelivered := c.handBack != 0 || slices.ContainsFunc(m.granted, func(g grant) bool { return g.place == c })
		if c.handBack = 0; undelivered {
			c.told = nil
		}
		c.request = n
		c.tell(n)
		a := m.grantAnswer(c, m.now)
		switch over := a.ExpiresIn != lock.NoLease && a.ExpiresIn < time.Millisecond; {
		case over && undelivered:
			m.lapse(c, wait)
		case over: // too little is left to be told
			m.lost(c, n)
			m.answer(n, lock.Answer{Code: lock.IDUsed})
		default:
			m.answer(n, a)
		}
		return
	}
	if c.parked {
		m.answer(c.request, m.queued(c))
	}
	if limit, some := m.kind(c.resource); !c.parked && some && limit != c.limit {
		m.remove(c)
		m.answer(n, m.refusal(lock.LimitMismatch, c.resource, m.now))
		return
	}
	c.note, c.request, c.parked, c.arrived, c.until = req.Note, n, true, m.now, m.now+int64(wait)
	m.promote(c.resource)
	if !c.held && wait == 0 {
		m.answer(n, m.queued(c))
		m.leaveQueue(c)
	}
}

// lapse takes back a grant that ran out before any answer told of it. The request keeps its place.
func (m *model) lapse(c *place, wait time.Duration) {
	m.change(c, true)
	c.held, c.token, c.since, c.arrived, c.told = false, 0, m.now, m.now, nil
	if wait == 0 {
		m.answer(c.request, m.queued(c))
		m.leaveQueue(c)
		return
	}
	c.parked, c.until = true, m.now+int64(wait)
	m.promote(c.resource)
}

// find returns the claim that ref names; nil if there is none, or if ref itself is refused.
func (m *model) find(n uint64, ref lock.Ref) (c *place, refused bool) {
	byToken, byID := (*place)(nil), m.byName(name{ref.Resource, ref.Owner, ref.ID})
	var owned []*place
	for _, h := range m.holders(ref.Resource) {
		if h.owner == ref.Owner {
			owned = append(owned, h)
			if h.token == ref.Token {
				byToken = h
			}
		}
	}
	switch {
	case ref.Token != 0 && ref.ID != "" && byToken != byID:
		m.answer(n, lock.Answer{Code: lock.Mismatch, Field: "token"})
		return nil, true
	case ref.Token != 0:
		return byToken, false
	case ref.ID != "":
		return byID, false
	case len(owned) > 1:
		m.answer(n, lock.Answer{Code: lock.TokenRequired})
		return nil, true
	case len(owned) == 1:
		return owned[0], false
	default:
		return nil, false
	}
}

// recall returns how what ref names has ended.
func (m *model) recall(ref lock.Ref, remembers bool) (past, bool) {
	if ref.Token != 0 {
		p, ok := m.tokens[ref.Token]
		if !ok || p.name.resource != ref.Resource || p.name.owner != ref.Owner {
			return past{}, false
		}
		return p, m.now-p.at <= int64(time.Minute) || remembers
	}
	if ref.ID == "" || !m.recalls(name{ref.Resource, ref.Owner, ref.ID}, remembers) {
		return past{}, false
	}
	return m.ids[name{ref.Resource, ref.Owner, ref.ID}], true
}

func (m *model) notHeld(ref lock.Ref, remembers bool) lock.Answer {
	a := lock.Answer{Code: lock.NotHeld}
	switch p, ok := m.recall(ref, remembers); {
	case ok && p.how == expired:
		a.Reason = lock.Expired
	case ok && p.how == evicted:
		a.Reason = lock.Evicted
	case len(m.holders(ref.Resource)) > 0:
		a.Reason = lock.OtherHolder
	}
	return a
}

func (m *model) release(n uint64, ref lock.Ref, remembers bool) {
	m.advance()
	c, refused := m.find(n, ref)
	switch {
	case refused:
	case c != nil && c.held:
		a := lock.Answer{Code: lock.Released, Token: c.token, ID: c.id}
		m.end(c, released)
		m.answer(n, a)
	case c != nil:
		if c.parked {
			m.answer(c.request, lock.Answer{Code: lock.IDUsed})
		}
		m.ids[c.name] = past{name: c.name, how: cancelled, at: m.now}
		m.remove(c)
		m.promote(c.resource)
		m.answer(n, lock.Answer{Code: lock.Cancelled, ID: ref.ID})
	default:
		p, ok := m.recall(ref, remembers)
		switch {
		case ok && p.how == released:
			m.answer(n, lock.Answer{Code: lock.Released, Token: p.token, ID: ref.ID})
		case ok && p.how == cancelled:
			m.answer(n, lock.Answer{Code: lock.Cancelled, Token: p.token, ID: ref.ID})
		case ok && p.how == barred:
			m.answer(n, lock.Answer{Code: lock.NotHeld})
		case !ok && ref.ID != "" && ref.Token == 0:
			me := name{ref.Resource, ref.Owner, ref.ID}
			m.ids[me] = past{name: me, how: barred, at: m.now}
			m.answer(n, lock.Answer{Code: lock.NotHeld})
		default:
			m.answer(n, m.notHeld(ref, remembers))
		}
	}
}

func (m *model) renew(n uint64, ref lock.Ref, expire time.Duration, remembers bool) {
	m.advance()
	c, refused := m.find(n, ref)
	switch {
	case refused:
	case c == nil || !c.held:
		m.answer(n, m.notHeld(ref, remembers))
	default:
		if c.handBack != 0 {
			c.handBack, c.sure = 0, true
		}
		if c.lease > 0 {
			if expire == 0 {
				expire = c.lease
			}
			c.deadline = max(c.deadline, m.now+int64(expire))
			if expire > c.lease {
				c.lease = expire
				m.change(c, false)
			}
		}
		a := m.grantAnswer(c, m.now)
		if a.ExpiresIn != lock.NoLease && a.ExpiresIn < time.Millisecond { // too little is left of the longest hold to be told
			a = lock.Answer{Code: lock.NotHeld, Reason: lock.Expired}
		}
		m.answer(n, a)
	}
}

func (m *model) forceRelease(n uint64, resource string, token int64) {
	m.advance()
	var out []*place
	for _, c := range m.holders(resource) {
		if token == 0 || c.token == token {
			out = append(out, c)
		}
	}
	if len(out) == 0 {
		m.answer(n, lock.Answer{Code: lock.NotFound})
		return
	}
	detail := &lock.Detail{}
	detail.Holders, detail.HoldersTotal = m.views(out, len(out))
	for _, c := range out {
		m.free(c, evicted)
	}
	m.promote(resource)
	m.answer(n, lock.Answer{Code: lock.ForceReleased, Detail: detail})
}

// leave is told that the client of the request went away without its answer.
func (m *model) leave(request uint64) {
	i := slices.IndexFunc(m.claims, func(c *place) bool { return c.request == request || slices.Contains(c.told, request) })
	if request == 0 || i < 0 {
		return
	}
	switch c := m.claims[i]; {
	case c.held && c.id != "":
		m.lost(c, request)
		if c.request == request {
			c.request = 0
			c.tell(0)
		}
	case c.held:
		m.end(c, cancelled)
	case c.id != "":
		m.leaveQueue(c)
	default:
		m.remove(c)
		m.promote(c.resource)
	}
}

// lost says that an answer with the grant did not reach its client.
func (m *model) lost(c *place, request uint64) {
	i := slices.Index(c.told, request)
	if i < 0 {
		return
	}
	c.told[i] = 0
	if !c.sure && !slices.ContainsFunc(c.told, func(n uint64) bool { return n != 0 }) {
		c.handBack = m.now + int64(lock.PlaceKept)
	}
}

// tell notes an answer with the grant. One that is too old counts as delivered.
func (c *place) tell(request uint64) {
	c.told = slices.Insert(c.told, 0, request)
	if len(c.told) > 7 {
		c.sure = c.sure || c.told[7] != 0
		c.told = c.told[:7]
	}
}

func (m *model) drain() {
	m.draining = true
	for _, c := range m.where(func(c *place) bool { return !c.held }) {
		if c.parked {
			m.answer(c.request, lock.Answer{Code: lock.Draining})
		}
		m.remove(c)
	}
}

func (m *model) show(n uint64, resource string) {
	m.advance()
	if len(m.holders(resource)) == 0 {
		m.answer(n, lock.Answer{Code: lock.NotFound})
		return
	}
	d := &lock.Detail{Locks: []lock.Lock{m.view(resource, 100)}}
	d.Queue = m.first(m.queue(resource), 100)
	m.answer(n, lock.Answer{Code: lock.Found, Detail: d})
}

// restart keeps the grants alone, and their leases start again.
func (m *model) restart() {
	m.claims = m.where(func(c *place) bool { return c.held })
	m.ids, m.tokens, m.draining, m.created = map[name]past{}, map[int64]past{}, false, nil
	slices.SortFunc(m.claims, func(a, b *place) int { return int(a.token - b.token) })
	for _, c := range m.claims {
		c.request, c.handBack, c.told, c.sure = 0, 0, nil, true
		m.beginHold(c)
		if !slices.Contains(m.created, c.resource) {
			m.created = append(m.created, c.resource)
		}
	}
}
