package simulate_test

import (
	"strconv"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// Full says whether the medium has no room for more.
func (s *faultyStore) Full() (bool, <-chan struct{}) { return s.medium.full, s.room }

// room fills the medium, or makes room on it. Servers learn that when their strands go on.
func (w *world) room() {
	if w.kind == instant {
		return
	}
	w.medium.full = !w.medium.full
	w.logf("the medium is full: %v", w.medium.full)
	for _, s := range w.servers {
		close(s.store.room)
		s.store.room = make(chan struct{})
	}
}

// roomy checks that a server which knows that its store is full grants nothing.
func (t *term) roomy(s *server) {
	full := s.engine.Full()
	granted := s.engine.Stats().Events[lock.EventGranted]
	t.w.check(!full || !t.full || granted == t.granting, "%d locks are granted while the store is full", granted-t.granting)
	t.full, t.granting = full, granted
}

// yields are the calls of yield, which sign by their numbers.
func yieldOf(by string) uint64 {
	n, _ := strconv.ParseUint(by, 10, 64)
	return n
}

// asksToYield takes the news that a holder is asked to give its lock back.
func (t *term) asksToYield(r *room, n name, e *lock.Event) {
	i := r.holder(e.Token)
	t.w.check(i >= 0 && r.holders[i].name == n, "%v is asked to give grant %d back, which it has not", n, e.Token)
	t.w.yieldFits(yieldOf(e.By), uint64(len(t.w.calls))+1, n.resource, e.Token)
	r.holders[i].yield = yieldOf(e.By)
}

// yieldFits checks that somebody asked for the yield that is told of.
func (w *world) yieldFits(by, before uint64, resource string, token int64) {
	w.check(by > 0 && by < before, "grant %d of %q is asked for by %d, who did not ask", token, resource, by)
	y := w.calls[by-1]
	w.check(y.what == yield && y.req.Resource == resource && (y.ref.Token == 0 || y.ref.Token == token), "grant %d of %q is asked for by %s", token, resource, y)
}

// heardYield checks that an answer names who asked for a grant: the last who did before the call, or one who did later.
func (w *world) heardYield(c *call, a *lock.Answer) {
	if by := yieldOf(a.YieldTo); by != 0 {
		w.yieldFits(by, uint64(len(w.calls))+1, c.req.Resource, a.Token)
		w.check(by >= c.yields[a.Token], "%s: told of %d who wants the lock, not of %d", c, by, c.yields[a.Token])
		return
	}
	w.check(c.yields[a.Token] == 0, "%s: not told of %d who wants the lock", c, c.yields[a.Token])
}

// wanted notes who wants the grants that a call may be told of.
func (t *term) wanted(c *call) {
	r := t.rooms[c.req.Resource]
	if r == nil {
		return
	}
	for _, h := range r.holders {
		if h.yield != 0 && h.owner == c.req.Owner {
			if c.yields == nil {
				c.yields = map[int64]uint64{}
			}
			c.yields[h.token] = h.yield
		}
	}
}
