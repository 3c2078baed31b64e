package simulate_test

import "time"

// end brings the world to rest, and checks what must be so then: everybody has an answer, nobody waits, and no lock is held for nobody.
func (w *world) end() {
	for len(w.servers) > 1 {
		w.kill(w.servers[0])
	}
	if s := w.serving(); s.store.failed || s.closing || s.draining {
		w.restart(s, step{})
	}
	s := w.serving()
	if w.medium.full {
		w.room()
	}
	for range 4 {
		w.rest(s)
		w.punctual = true
		w.pass(step{what: pass, a: uint32(len(pauses) - 1)}) // longer than any wait or lease
	}
	w.rest(s)
	w.logf("all is at rest")
	w.check(s.quiet(), "a server does not come to rest")
	s.front.atRest()
	for _, c := range w.calls {
		w.check(c.s != s || c.done || c.left, "%s: never answered", c)
	}
	w.check(s.term.places == 0, "%d places are kept for ever", s.term.places)
	for _, r := range s.term.rooms {
		for _, h := range r.holders {
			w.check(!h.lease, "grant %d of %v is held for ever, with a lease", h.token, h.name)
			g := w.grants[h.token]
			known := g != nil && (!g.undelivered || g.turns >= 7) // an answer of long ago counts as delivered
			w.check(known || h.loaded || s.term.renewals[s.term.byOwner(h.name)] != 0, "grant %d of %v is a ghost: nobody knows that he has it", h.token, h.name)
		}
	}
}

// rest lets a server finish all that it has to do now. That may be much: a grant whose lease of 2 ms runs out before its answer comes again
// and again, as long as its request waits.
func (w *world) rest(s *server) {
	for range 200_000 {
		s.front.tell()
		s.front.live()
		if s.quiet() && len(s.host.strands) == s.host.standing && s.front.idle() {
			break
		}
		if s.host.gathers {
			w.now += int64(time.Millisecond)
			w.ring(s, false)
		}
		if s.store.commit != nil {
			s.store.finish()
		}
		for _, x := range s.host.strands {
			s.host.run(x)
		}
		s.host.tidy()
		w.after(s)
	}
	w.ring(s, false)
	w.after(s)
}
