package simulate_test

import (
	"cmp"
	"slices"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// heard holds an answer against what was promised, and takes note of it.
func (w *world) heard(x *answered) {
	c, a := x.c, &x.a
	w.logf("  answer to %d: code %d, token %d, expires in %v %s", c.n, a.Code, a.Token, a.ExpiresIn, a.Field)
	w.check(!c.done, "request %s is answered twice", c)
	c.done = true
	if a.Code != lock.Granted {
		w.open = slices.DeleteFunc(w.open, func(o *call) bool { return o == c })
	} else if len(w.open) > 16*remembered {
		w.open = slices.DeleteFunc(w.open, func(o *call) bool { return o.done })
	}
	if c.left {
		return // the client is gone
	}
	switch a.Code {
	case lock.Unavailable:
		w.check(c.s.store.failed || c.late || c.beside && c.s.closing, "%s: unavailable, but the store works", c)
		return
	case lock.Draining:
		w.check(c.s.draining, "%s: draining, but nobody stops the server", c)
		return
	}
	switch c.what {
	case acquire, again:
		w.heardAcquire(c, a)
	case renew:
		w.heardRenewal(c, a)
	case release:
		w.heardRelease(c, a)
	case show:
		w.heardLook(c, a)
	case yield:
		w.check(a.Code == lock.Asked || a.Code == lock.NotFound && c.certain == nil, "%s: answered with code %d, but it is held", c, a.Code)
		if a.Code == lock.Asked {
			w.holdersAre(c, a.Detail.Holders)
		}
	case force:
		if c.beside {
			c.s.term.forcing[c.req.Resource]--
		}
	}
}

func (w *world) heardAcquire(c *call, a *lock.Answer) {
	over := w.now >= c.end()
	switch a.Code {
	case lock.Granted:
		w.heardGrant(c, a)
	case lock.Queued:
		w.check(c.req.ID != "", "%s: its place is kept without an id", c)
		w.check(over || w.newer(c), "%s: its wait ended before its time", c)
	case lock.Locked:
		gone := c.req.ID == "" && a.Detail.HoldersTotal == 0
		w.check(over || gone, "%s: refused before the end of its wait", c)
		w.check(gone || a.Detail.HoldersTotal > 0 || a.Detail.Waiters > 0, "%s: refused a lock that nobody has", c)
		w.holdersAre(c, a.Detail.Holders)
	case lock.LimitMismatch:
		w.holdersAre(c, a.Detail.Holders)
	case lock.IDUsed:
		if !c.s.term.nearlyOver(c.name()) {
			c.s.term.doubtful = append(c.s.term.doubtful, c)
		}
	case lock.Mismatch:
		w.check(c.what == again, "%s: a mismatch with itself", c)
	case lock.TooManyLocks:
		w.check(c.grants >= w.bounds.MaxLocks, "%s: there are %d locks of %d", c, c.grants, w.bounds.MaxLocks)
	case lock.StorageFull:
		w.check(c.full, "%s: refused as the store is full, which it is not", c)
	case lock.TooManyWaiters:
		w.check(c.waiters >= w.bounds.MaxWaiters, "%s: there are %d waiters of %d", c, c.waiters, w.bounds.MaxWaiters)
	default:
		w.check(false, "%s: answered with code %d", c, a.Code)
	}
}

// newer reports whether a newer request has the name of c.
func (w *world) newer(c *call) bool {
	for _, o := range w.calls[c.n:] {
		if (o.what == acquire || o.what == again) && o.s == c.s && o.name() == c.name() {
			return true
		}
	}
	return false
}

func (w *world) heardGrant(c *call, a *lock.Answer) {
	w.durable(c, a.Token)
	w.heardYield(c, a)
	w.check(a.Mode == c.req.Mode && a.Limit == c.req.Limit && a.ID == c.req.ID, "%s: got another kind of grant", c)
	w.check(int64(a.Waited) == w.now-c.at, "%s: waited %v, not %v", c, a.Waited, time.Duration(w.now-c.at))
	w.check((a.ExpiresIn == lock.NoLease) == (c.req.Expire == 0 && w.longest(c.name()) == 0), "%s: a lease of %v", c, a.ExpiresIn)
	w.check(a.ExpiresIn == lock.NoLease || a.ExpiresIn >= time.Millisecond, "%s: told a lease of %v, which is over", c, a.ExpiresIn)
	if c.req.ID != "" {
		released := w.acquisition(c.name()).released
		w.check(released < c.n || w.bounds.MaxRemembered < 1000 || !c.s.term.cancelled[released], "%s: granted after its id was cancelled", c)
	}
	g := w.grants[a.Token]
	if g == nil {
		g = &grant{name: c.name(), token: a.Token, mode: a.Mode, limit: a.Limit, lease: c.req.Expire, server: c.s}
		w.grants[a.Token] = g
		w.told = append(w.told, g)
		if c.s.term.ended[a.Token] {
			g.ended = true
		} else {
			w.live[g.resource] = append(w.live[g.resource], g)
		}
	}
	w.check(g.name == c.name(), "%s: got the grant of %v", c, g.name)
	g.undelivered, g.to = false, append(g.to, c)
	w.extend(g, c, a)
	t := c.s.term
	g.released = g.released || t.released[name{resource: g.resource, owner: g.owner}] > c.n || t.forced[g.resource] > c.n || t.forcing[g.resource] > 0 ||
		g.id != "" && w.acquisition(g.name).released > c.n
	if g.certain(w.now) {
		w.exclusive(g)
	}
}

// extend notes how long a grant is held at least.
func (w *world) extend(g *grant, c *call, a *lock.Answer) {
	if a.ExpiresIn == lock.NoLease {
		return
	}
	end := w.now + int64(a.ExpiresIn)
	if g.deadline == 0 && g.server == c.s && c.s.term.renewals[name{resource: g.resource, owner: g.owner}] == 0 {
		g.since = end - int64(w.lasts(g.name, g.lease))
	}
	longest := w.longest(g.name)
	w.check((a.HoldLeft == 0) == (longest == 0) && a.HoldLeft <= longest && (longest == 0 || a.ExpiresIn <= a.HoldLeft),
		"%s: %v left of a lease that is held for %v at most, of which %v are left", c, a.ExpiresIn, longest, a.HoldLeft)
	if holdEnd := w.now + int64(a.HoldLeft); longest != 0 {
		w.check(g.holdEnd == 0 || g.holdEnd == holdEnd || g.server != c.s || g.ended, "%s: the longest hold ends at another time than promised", c)
		if g.server == c.s {
			g.holdEnd = holdEnd
		}
	}
	w.check(end >= g.deadline || g.server != c.s || g.ended, "%s: the lease is shorter than promised", c)
	g.deadline = max(g.deadline, end)
}

// exclusive checks the guarantee: nobody whose grant is certain has to share it with g.
func (w *world) exclusive(g *grant) {
	n := 0
	for _, o := range w.live[g.resource] {
		if !o.certain(w.now) {
			continue
		}
		n++
		if o == g {
			continue
		}
		w.check(o.mode == g.mode && o.limit == g.limit && o.mode != lock.Exclusive, "%q is held by %v with token %d and by %v with token %d",
			g.resource, o.name, o.token, g.name, g.token)
	}
	w.check(g.mode != lock.Semaphore || n <= int(g.limit), "%q has %d holders for %d permits", g.resource, n, g.limit)
}

// durable checks that a grant that is told of has been durable.
func (w *world) durable(c *call, token int64) {
	_, ever := w.medium.ever[token]
	w.check(ever || w.kind == instant, "%s: told of grant %d, which is not durable", c, token)
}

func (w *world) heardRenewal(c *call, a *lock.Answer) {
	w.check(a.Code != lock.StorageFull || c.full && c.expire > 0, "%s: refused as the store is full", c)
	if a.Code != lock.Granted {
		if g := c.certain; g != nil && a.Code == lock.NotHeld { // the lease may be over since
			end := max(g.deadline, c.at+int64(cmp.Or(c.expire, g.lease)))
			if g.holdEnd != 0 {
				end = min(end, g.holdEnd)
			}
			over := g.over == c.s // there is no way back in the moment that may be left
			w.check(over || g.deadline != 0 && w.now > end-int64(time.Millisecond), "%s: not held, but it was promised", c)
		}
		w.toldOver(c, a)
		return
	}
	w.durable(c, a.Token)
	w.heardYield(c, a)
	if g := w.grants[a.Token]; g != nil {
		w.check(c.ref.Token == 0 || c.ref.Token == a.Token, "%s: renewed token %d", c, a.Token)
		w.check(g.over != c.s || c.at <= g.overAt, "%s: renewed token %d, whose lease was told to be over", c, a.Token)
		w.extend(g, c, a)
	}
}

// toldOver notes grants whose lease was told to be over, though a moment of it is left.
func (w *world) toldOver(c *call, a *lock.Answer) {
	if a.Reason != lock.Expired {
		return
	}
	for _, g := range w.live[c.ref.Resource] {
		if names(&c.ref, g) && g.over != c.s {
			g.over, g.overAt = c.s, w.now
		}
	}
}

func (w *world) heardRelease(c *call, a *lock.Answer) {
	switch a.Code {
	case lock.Released, lock.Cancelled:
		_, held := w.medium.records[a.Token]
		w.check(!held, "%s: released grant %d, which is still durable", c, a.Token)
		if c.ref.ID != "" {
			c.s.term.cancelled[c.n] = true
		}
	case lock.NotHeld:
		w.check(c.certain == nil, "%s: not held, but it was promised", c)
		if c.ref.Token == 0 && c.ref.ID != "" && a.Reason == lock.Unknown {
			c.s.term.cancelled[c.n] = true
		}
	}
}

// heardLook checks that a look shows what is durable: nothing more, and all that was there before.
func (w *world) heardLook(c *call, a *lock.Answer) {
	var holders []lock.Holder
	if a.Code == lock.Found {
		holders = a.Detail.Locks[0].Holders
		w.check(a.Detail.Locks[0].HoldersTotal == len(holders) || len(holders) == 100, "%s: counts %d holders", c, a.Detail.Locks[0].HoldersTotal)
	}
	w.holdersAre(c, holders)
	for token := range c.held {
		_, still := w.medium.records[token]
		shown := slices.ContainsFunc(holders, func(h lock.Holder) bool { return h.Token == token })
		w.check(!still || shown || len(holders) == 100, "%s: does not show grant %d, which is durable", c, token)
	}
}

func (w *world) holdersAre(c *call, holders []lock.Holder) {
	for _, h := range holders {
		w.durable(c, h.Token)
		w.check(h.ExpiresIn != 0 || w.grants[h.Token] == nil || w.grants[h.Token].undelivered, "%s: names holder %d, whose lease is over", c, h.Token)
	}
}
