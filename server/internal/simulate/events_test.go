package simulate_test

import (
	"slices"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// event takes the next event. A lease that was over before its answer is an expiry with the return to the queue right behind it.
func (t *term) event(s *server, e, next *lock.Event) {
	w, n := t.w, name{e.Resource, e.Owner, e.ID}
	r := t.room(e.Resource)
	t.dirty = true
	t.counts[e.Kind]++
	switch e.Kind {
	case lock.EventQueued:
		t.queued(r, n, e)
	case lock.EventLeft:
		t.left(r, n, e)
	case lock.EventGranted:
		t.granted(r, n, e)
	case lock.EventRenewed:
		w.check(t.renewals[t.byOwner(n)] != 0, "%v is renewed, which nobody asked for", n)
	case lock.EventYield:
		t.asksToYield(r, n, e)
	case lock.EventStuck:
		t.isStuck(r, n, e)
	default:
		lapses := e.Kind == lock.EventExpired && next != nil && next.Kind == lock.EventQueued && name{next.Resource, next.Owner, next.ID} == n
		t.over(r, n, e, lapses)
	}
}

func (t *term) queued(r *room, n name, e *lock.Event) {
	w := t.w
	arrival, lapsed := t.lapsed[n]
	delete(t.lapsed, n)
	if i := r.place(n); i >= 0 {
		w.check(!r.queue[i].present, "%v is queued twice", n)
		r.queue[i].present = true
	} else {
		if !lapsed {
			t.arrivals++
			arrival = t.arrivals
		}
		t.places++
		at, _ := slices.BinarySearchFunc(r.queue, arrival, func(p *place, a int) int { return p.arrival - a })
		r.queue = slices.Insert(r.queue, at, &place{n, arrival, true, e.Mode, e.Limit, w.now})
	}
	w.check(e.Waiters == len(r.queue), "%v is queued with %d waiters, not %d", n, e.Waiters, len(r.queue))
}

func (t *term) left(r *room, n name, e *lock.Event) {
	w := t.w
	i := r.place(n)
	w.check(i >= 0, "%v leaves a queue it is not in", n)
	a := w.acquisition(n)
	kept := false
	switch e.Why {
	case lock.WhyGone:
		w.check(a.left, "%v is gone, but its client has not left", n)
		kept = n.id != ""
	case lock.WhyTimedOut:
		w.check(a.until <= w.now, "the wait of %v ended before its time", n)
		kept = n.id != ""
	case lock.WhyCancelled:
		w.check(a.released != 0, "%v is cancelled, which nobody asked for", n)
		t.use(n)
	case lock.WhyPlaceLost:
		w.check(!r.queue[i].present, "%v loses its place while it waits", n)
	case lock.WhyDraining:
		w.check(t.draining, "%v has to go, but the server does not stop", n)
	}
	if kept {
		w.check(r.queue[i].present, "%v leaves twice", n)
		r.queue[i].present = false
		return
	}
	t.leave(r, i)
}

func (t *term) leave(r *room, i int) {
	r.queue = slices.Delete(r.queue, i, i+1)
	t.places--
}

func (t *term) granted(r *room, n name, e *lock.Event) {
	w := t.w
	_, ever := w.medium.ever[e.Token]
	w.check(ever, "grant %d of %v is told, but not durable", e.Token, n)
	i := r.place(n)
	for j, p := range r.queue {
		if j == i {
			break
		}
		w.check(!p.present, "%v is granted %q before %v, who came first", n, n.resource, p.name)
	}
	arrival := t.arrivals + 1
	if i >= 0 {
		w.check(r.queue[i].present, "%v is granted %q, but does not wait for it", n, n.resource)
		arrival = r.queue[i].arrival
		t.leave(r, i)
	}
	t.arrivals = max(t.arrivals, arrival)
	p := &place{name: n, mode: e.Mode, limit: e.Limit}
	w.check(r.admits(p), "%v is granted %q, which others hold", n, n.resource)
	if before, used := t.used[n]; used && n.id != "" && w.bounds.MaxRemembered > 1000 {
		w.check(w.now-before >= int64(time.Minute), "%v is granted %q, but its id has ended", n, n.resource)
	}
	r.holders = append(r.holders, &holder{n, e.Token, arrival, e.Mode, e.Limit, e.ExpiresIn != lock.NoLease, false, false, w.now, t.lastDone + int64(e.ExpiresIn), 0})
	t.holders++
}

// isStuck takes that a holder is stuck.
func (t *term) isStuck(r *room, n name, e *lock.Event) {
	w := t.w
	i := slices.IndexFunc(r.holders, func(h *holder) bool { return h.token == e.Token })
	w.check(i >= 0 && !r.holders[i].stuck, "grant %d of %v is stuck, but is not held, or was told before", e.Token, n)
	r.holders[i].stuck = true
	w.check(w.bounds.StuckAfter > 0 && e.Lasted >= w.bounds.StuckAfter, "grant %d of %v is stuck after %v", e.Token, n, e.Lasted)
	w.check(len(r.queue) > 0, "grant %d of %v is stuck, but nobody waits for %q", e.Token, n, n.resource)
}

// over takes the end of a grant.
func (t *term) over(r *room, n name, e *lock.Event, lapses bool) {
	w := t.w
	_, stored := w.medium.records[e.Token]
	w.check(!stored, "the end of grant %d of %v is told, but not durable", e.Token, n)
	i := r.holder(e.Token)
	w.check(i >= 0 && r.holders[i].name == n, "grant %d of %v is %s, but %q is not held so", e.Token, n, e.Kind, n.resource)
	arrival := r.holders[i].arrival
	r.holders = slices.Delete(r.holders, i, i+1)
	t.holders--
	g := w.grants[e.Token]
	asked := g != nil && g.released
	switch e.Kind {
	case lock.EventReleased:
		w.check(asked || t.released[t.byOwner(n)] > 0 || w.acquisition(n).released > 0, "grant %d of %v is released, which nobody asked for", e.Token, n)
	case lock.EventEvicted:
		w.check(asked || t.forced[n.resource] > 0, "grant %d of %v is evicted, which nobody asked for", e.Token, n)
	case lock.EventHandedBack:
		w.check(w.acquisition(n).left, "grant %d of %v is handed back, but its client has not left", e.Token, n)
		w.check(g == nil || g.undelivered || g.released, "grant %d of %v is handed back, but its client has it", e.Token, n)
	case lock.EventExpired:
		t.expired(g, n, e)
	}
	if lapses {
		w.check(g == nil || g.undelivered, "grant %d of %v was told, and goes back to the queue", e.Token, n)
		t.lapsed[n] = arrival
	}
	if g != nil {
		g.ended = true
		w.live[g.resource] = slices.DeleteFunc(w.live[g.resource], func(o *grant) bool { return o == g })
	}
	if lapses {
		return
	}
	t.ended[e.Token] = true
	if n.id != "" {
		t.use(n)
	}
}

func (t *term) expired(g *grant, n name, e *lock.Event) {
	w := t.w
	w.check(e.ExpiresIn < time.Millisecond, "grant %d of %v expires with %v left", e.Token, n, e.ExpiresIn)
	if g == nil || g.server.term != t || g.deadline == 0 || g.undelivered {
		return
	}
	w.check(w.now >= g.deadline, "grant %d of %v expires before it may", e.Token, n)
	if g.since != 0 {
		w.check(g.since+int64(e.Lasted) >= g.deadline, "grant %d of %v ended %v before its time", e.Token, n, time.Duration(g.deadline-g.since-int64(e.Lasted)))
	}
}

// use notes that an id has ended, at lastDone at the earliest.
func (t *term) use(n name) { t.used[n] = t.lastDone }
