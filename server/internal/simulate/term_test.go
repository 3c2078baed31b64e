package simulate_test

import (
	"slices"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// term is what the events of one server say: who holds, who waits, and in which order. Each event must follow from those before it, and
// have a cause.
type term struct {
	w        *world
	rooms    map[string]*room
	holders  int
	places   int
	arrivals int
	counts   map[lock.EventKind]uint64
	ended    map[int64]bool // tokens whose end was told
	used     map[name]int64 // ids that have ended, and a time before that
	lapsed   map[name]int   // the arrival of one whose lease was over before its answer
	doubtful []*call        // told that their id is used, which must turn out to be so
	lastDone int64          // when it was quiet last
	dirty    bool           // there were events since then
	rang     int64          // when all alarms that were due had gone off
	draining bool
	full     bool   // the engine knew by the last step that its store was
	granting uint64 // and had granted so many locks

	// What was asked of this server, by the number of the call, and when.
	touched   map[string]int64 // by resource
	forced    map[string]uint64
	forcing   map[string]int  // force releases that go on beside others
	released  map[name]uint64 // by owner alone
	cancelled map[uint64]bool // releases after which their id gets nothing any more
	renewals  map[name]int64  // by owner: when the newest came
	longest   map[name]time.Duration
}

// room is one resource.
type room struct {
	holders []*holder
	queue   []*place // by arrival
}

type holder struct {
	name
	token   int64
	arrival int
	mode    lock.Mode
	limit   int32
	lease   bool
	stuck   bool // that was told
	loaded  bool
	began   int64  // not later than that
	least   int64  // its lease is not over before that
	yield   uint64 // the last call that asked for it
}

type place struct {
	name
	arrival int
	present bool
	mode    lock.Mode
	limit   int32
	since   int64 // not later than that
}

func newTerm(w *world) *term {
	return &term{
		w: w, rooms: map[string]*room{}, counts: map[lock.EventKind]uint64{}, ended: map[int64]bool{}, used: map[name]int64{},
		lapsed: map[name]int{}, lastDone: w.now, rang: w.now, touched: map[string]int64{}, forced: map[string]uint64{}, forcing: map[string]int{},
		released: map[name]uint64{}, cancelled: map[uint64]bool{}, renewals: map[name]int64{}, longest: map[name]time.Duration{},
	}
}

func (t *term) room(resource string) *room {
	r := t.rooms[resource]
	if r == nil {
		r = &room{}
		t.rooms[resource] = r
	}
	return r
}

// loaded notes what a server has loaded. Each lease begins again.
func (w *world) loaded(s *server) {
	t := s.term
	for _, rec := range w.medium.records {
		n := name{rec.Resource, rec.Owner, rec.ID}
		t.room(rec.Resource).holders = append(t.room(rec.Resource).holders, &holder{n, rec.Token, 0, rec.Mode, rec.Limit, w.lasts(n, rec.Lease) > 0, false, true, w.now, w.now + int64(w.lasts(n, rec.Lease)), 0})
		t.holders++
		t.longest[t.byOwner(n)] = max(t.longest[t.byOwner(n)], rec.Lease)
		if g := w.grants[rec.Token]; g != nil {
			w.check(g.mode == rec.Mode && g.limit == rec.Limit && g.name == n, "grant %d is stored as another", rec.Token)
			w.check(w.acquisition(n).maxHold == rec.MaxHold, "the longest hold of grant %d is stored as %v", rec.Token, rec.MaxHold)
			if g.server, g.holdEnd = s, 0; g.deadline != 0 {
				g.since, g.deadline = w.now, max(g.deadline, w.now+int64(w.lasts(n, rec.Lease)))
			}
			if longest := w.longest(n); longest != 0 {
				g.holdEnd = w.now + int64(longest)
			}
		}
	}
}

// crashed checks what must survive a server.
func (w *world) crashed(s *server) {
	if w.kind == instant {
		return
	}
	for _, list := range w.live {
		for _, g := range list {
			_, durable := w.medium.records[g.token]
			w.check(durable || g.server != s || !g.certain(w.now), "grant %d of %v was promised, and is lost by the end of server %d", g.token, g.name, s.name)
		}
	}
}

// landed notes a change that is durable.
func (w *world) landed(c *lock.Change) {
	m, rec := w.medium, c.Record
	old, known := m.records[rec.Token]
	if c.Delete {
		w.check(known && old.Resource == rec.Resource, "grant %d of %q is deleted, which is not there", rec.Token, rec.Resource)
		delete(m.records, rec.Token)
		return
	}
	if known {
		w.check(rec.Lease > old.Lease, "grant %d is stored again without need", rec.Token)
		m.records[rec.Token] = rec
		return
	}
	w.check(rec.Token > m.last, "token %d comes after %d", rec.Token, m.last)
	n := 1
	for _, o := range m.records {
		if o.Resource != rec.Resource {
			continue
		}
		n++
		w.check(o.Mode == rec.Mode && o.Limit == rec.Limit && o.Mode != lock.Exclusive, "%q is stored for %q with token %d and for %q with token %d",
			o.Resource, o.Owner, o.Token, rec.Owner, rec.Token)
	}
	w.check(rec.Mode != lock.Semaphore || n <= int(rec.Limit), "%q is stored for %d holders with %d permits", rec.Resource, n, rec.Limit)
	m.records[rec.Token], m.ever[rec.Token], m.last = rec, struct{}{}, rec.Token
}

func (*term) byOwner(n name) name { return name{resource: n.resource, owner: n.owner} }

// lengthens notes a lease that somebody has asked for.
func (t *term) lengthens(r *lock.Request, lease time.Duration) {
	n := name{resource: r.Resource, owner: r.Owner}
	t.longest[n] = max(t.longest[n], lease)
}

func (t *term) renewed(r *lock.Request, now int64, lease time.Duration) {
	t.lengthens(r, lease)
	t.renewals[name{resource: r.Resource, owner: r.Owner}] = now
}

// latest is when a holder's lease must be over. While a grant is offered it is not, so what was asked before its client went away does not
// count.
func (t *term) latest(h *holder) int64 {
	n := t.byOwner(h.name)
	end := max(h.began, t.renewals[n]) + int64(t.longest[n])
	if longest := h.began + int64(t.w.longest(h.name)); longest != h.began && (longest < end || t.w.acquisition(h.name).endless) {
		end = longest
	}
	return max(end, t.w.acquisition(h.name).leftAt+1)
}

// stuck checks that each holder was told to be stuck that is, as far as alarms have gone off.
func (t *term) stuck(resource string, r *room) {
	after := int64(t.w.bounds.StuckAfter)
	i := slices.IndexFunc(r.queue, func(p *place) bool { return p.present && p.since <= t.rang-after })
	if after == 0 || i < 0 || r.queue[0].since > t.rang-after {
		return
	}
	for _, h := range r.holders {
		t.w.check(h.stuck || h.began > t.rang-after, "grant %d of %q is stuck, which nobody was told", h.token, resource)
	}
}

// nearlyOver reports whether the name has a grant with too little time left to be told again.
func (t *term) nearlyOver(n name) bool {
	return slices.ContainsFunc(t.room(n.resource).holders, func(h *holder) bool {
		return h.name == n && h.lease && t.w.now > h.least-int64(time.Millisecond)
	})
}

// judge checks a server that has nothing on its way.
func (t *term) judge(s *server) {
	w := t.w
	t.lastDone = w.now
	for _, c := range t.doubtful {
		_, used := t.used[c.name()]
		w.check(used || w.acquisition(c.name()).released > 0, "%s: told that its id is used, but it is not", c)
	}
	t.doubtful = t.doubtful[:0]
	for resource, r := range t.rooms {
		asked := max(t.rang, t.touched[resource])
		for _, h := range r.holders {
			w.check(!h.lease || t.latest(h) > asked, "grant %d of %v is held past the end of its lease", h.token, h.name)
		}
		t.stuck(resource, r)
	}
	if !t.dirty {
		return
	}
	full := s.engine.Full()
	t.dirty = full
	for resource, r := range t.rooms {
		for _, p := range r.queue {
			if p.present {
				w.check(full || !r.admits(p), "%v waits for %q, which is free for it", p.name, resource)
				break
			}
		}
		if len(r.holders)+len(r.queue) == 0 {
			delete(t.rooms, resource)
		}
	}
	stats := s.engine.Stats()
	w.check(stats.Grants == t.holders, "%d grants are counted, but %d held", stats.Grants, t.holders)
	w.check(stats.Waiters == t.places, "%d waiters are counted, but there are %d", stats.Waiters, t.places)
	for k, n := range t.counts {
		w.check(stats.Events[k] == n, "%d events %q are counted, but %d told", stats.Events[k], k, n)
	}
	if s == w.serving() {
		w.check(len(w.medium.records) == t.holders, "%d grants are stored, but %d held", len(w.medium.records), t.holders)
		for _, r := range t.rooms {
			for _, h := range r.holders {
				_, stored := w.medium.records[h.token]
				w.check(stored, "grant %d of %v is held, but not stored", h.token, h.name)
			}
		}
	}
}

// admits reports whether a waiter could hold beside the holders.
func (r *room) admits(p *place) bool {
	n := len(r.holders)
	switch {
	case n == 0:
		return true
	case r.holders[0].limit != p.limit:
		return false
	case p.mode == lock.Shared:
		return r.holders[0].mode == lock.Shared
	case p.mode == lock.Semaphore:
		return n < int(p.limit)
	}
	return false
}

func (r *room) holder(token int64) int {
	return slices.IndexFunc(r.holders, func(h *holder) bool { return h.token == token })
}

func (r *room) place(n name) int {
	return slices.IndexFunc(r.queue, func(p *place) bool { return p.name == n })
}
