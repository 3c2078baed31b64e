package simulate_test

import (
	"context"
	"slices"
	"strconv"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
)

func pick[T any](n uint32, of []T) T { return of[int(n)%len(of)] }

// do does one step.
func (w *world) do(x step) {
	s := w.serving()
	if x.c%4 == 0 {
		s = w.servers[0] // perhaps one that has been replaced
	}
	if s.store.failed && x.what <= list && x.a%4 == 0 || s.closed {
		w.restart(s, x)
		return
	}
	switch x.what {
	case pass:
		w.pass(x)
		return
	case work, land, finish, fail:
		w.commit(s, x)
	case alarms:
		w.ring(s, x.a%8 == 0)
	case lose, crash, stop, replace:
		w.trouble(s, x)
		return
	case fill:
		if w.medium.full || x.a%16 == 0 {
			w.room()
		}
	case dial, send, flow, turn, cut, tell:
		w.talk(s, x)
	default:
		w.operate(s, x)
	}
	w.after(s)
}

// restart ends a server, and starts another if it was the one that served.
func (w *world) restart(s *server, x step) {
	serving := s == w.serving()
	if s.closed && !s.store.failed {
		for _, c := range w.calls {
			w.check(c.s != s || c.done || c.left || c.beside, "%s: not answered when the server stops", c)
		}
	}
	w.kill(s)
	w.crashed(s)
	if serving {
		w.start(x.b)
	}
}

// pass lets time pass, up to the next alarm if servers are punctual.
func (w *world) pass(x step) {
	until := w.now + int64(pick(x.a, pauses)) + int64(x.b%4)*int64(time.Microsecond)
	for w.punctual {
		var first *server
		at := until + 1
		for _, s := range w.servers {
			for _, a := range s.alarms() {
				if a.at != 0 && a.at < at {
					first, at = s, a.at
				}
			}
		}
		if first == nil {
			break
		}
		w.now = max(w.now, at)
		w.ring(first, false)
		w.after(first)
		if w.sessions.lively {
			first.front.live()
			w.after(first)
		}
	}
	w.now = until
	w.logf("time")
	if w.punctual {
		for _, s := range slices.Clone(w.servers) {
			s.front.settle()
			w.after(s)
		}
	}
}

// ring lets the alarms that are due go off, beside other work or at once.
func (w *world) ring(s *server, beside bool) {
	for _, a := range s.alarms() {
		if a.due() {
			a.at = 0
			if beside && a.host == s.host {
				w.logf("server %d: an alarm goes off, beside other work", s.name)
				s.host.Go(a.ring)
				continue
			}
			w.logf("server %d: an alarm goes off", s.name)
			a.ring()
		}
	}
	if len(s.host.strands) == s.host.standing {
		s.term.rang = w.now
	}
}

// commit lets the committer and other strands go on, and decides about commits.
func (w *world) commit(s *server, x step) {
	c := s.store.commit
	if x.what == work || c == nil {
		strand := s.host.strands[0]
		if n := len(s.host.strands); x.what == work && n > 1 && x.a%2 == 0 {
			strand = s.host.strands[1+int(x.a/2)%(n-1)]
		}
		s.host.run(strand)
		s.host.tidy()
		return
	}
	switch {
	case x.what == land && !s.store.replaced():
		more := s.store.land()
		w.logf("server %d: a piece of its commit lands; more: %v", s.name, more)
		return
	case x.what == finish:
		w.logf("server %d: its commit of %d changes ends", s.name, len(c.changes))
		s.store.finish()
	case x.what == fail:
		w.logf("server %d: its commit fails", s.name)
		s.store.decide(errFailed)
	default:
		return
	}
	s.committer()
}

// trouble is what ends a server.
func (w *world) trouble(s *server, x step) {
	switch x.what {
	case lose:
		if s.store.failed || w.kind == instant {
			return
		}
		w.logf("server %d: its store is lost", s.name)
		err := errFailed
		if s.store.replaced() {
			err = store.ErrReplaced
		}
		s.store.lose(err)
		s.committer()
		w.after(s)
	case crash:
		if w.kind == instant {
			return // it keeps nothing
		}
		w.logf("server %d crashes", s.name)
		w.restart(s, x)
	case replace:
		if w.kind == shared && len(w.servers) < 3 {
			w.logf("server %d is replaced", s.name)
			w.start(x.b)
		}
	case stop:
		if w.kind == instant || s.draining {
			return
		}
		w.logf("server %d stops", s.name)
		s.draining, s.term.draining = true, true
		s.front.stop()
	}
}

// operate asks a server for something.
func (w *world) operate(s *server, x step) {
	var c *call
	switch x.what {
	case acquire:
		c = w.newCall(s, x.what, w.newRequest(x))
		c.req.Wait = pick(x.b>>8, waits)
	case again:
		old := w.recent(x.a)
		if old == nil {
			return
		}
		c = w.newCall(s, x.what, *old)
		c.req.Wait, c.req.Uncapped = pick(x.b, waits), false
		if x.b>>8%16 == 0 {
			c.req.Expire = pick(x.b>>12, leases)
		}
	case release, renew:
		ref, ok := w.ref(x)
		if !ok {
			return
		}
		c = w.newCall(s, x.what, lock.Request{Resource: ref.Resource, Owner: ref.Owner, ID: ref.ID})
		c.ref = ref
		if x.what == renew {
			c.expire = pick(x.c>>2, leases)
		}
	case leave:
		w.leave(s, x)
		return
	case force, yield, show, list:
		c = w.newCall(s, x.what, lock.Request{Resource: w.resource(x.a)})
		if g := w.grant(x.b); (x.what == force || x.what == yield) && g != nil && x.c%2 == 0 {
			c.ref.Resource, c.ref.Token, c.req.Resource = g.resource, g.token, g.resource
		}
	}
	w.logf("server %d: %s", s.name, c)
	w.asked(c)
	to := lock.Reply{To: w, N: c.n}
	e := s.engine
	switch x.what {
	case acquire, again:
		c.ticket = e.Acquire(&c.req, to)
	case release:
		e.Release(&c.ref, to)
	case renew:
		e.Renew(&c.ref, c.expire, to)
	case force:
		c.walk(x, func() { e.ForceRelease(c.req.Resource, c.ref.Token, "op", to) })
	case yield:
		e.Yield(c.req.Resource, c.ref.Token, strconv.FormatUint(c.n, 10), to)
	case show:
		e.Show(c.req.Resource, to)
	case list:
		c.walk(x, func() { e.List(context.Background(), lock.Query{Size: 1 + int(x.b)%3}, to) })
	}
	w.did(c)
}

// did notes what came of a call at once.
func (w *world) did(c *call) {
	if !c.s.store.failed {
		if c.what != force && c.what != list {
			c.s.term.touched[c.req.Resource] = w.now
		}
		c.grants, c.waiters = c.s.sizes()
	}
}

// walk runs an operation of several steps, beside other work or at once.
func (c *call) walk(x step, f func()) {
	if c.beside = x.c>>4%2 == 0; !c.beside {
		f()
		return
	}
	if c.what == force {
		c.s.term.forcing[c.req.Resource]++
	}
	c.s.host.Go(f)
}

// alarms are all that are set on a server.
func (s *server) alarms() []*alarm { return slices.Concat(s.host.alarms, s.front.host.alarms) }

func (s *server) sizes() (grants, waiters int) {
	stats := s.engine.Stats()
	return stats.Grants, stats.Waiters
}
