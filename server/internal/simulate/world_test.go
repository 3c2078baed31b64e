package simulate_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"time"

	"github.com/lockserver/lockserver/server/internal/engine"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
)

// world is all there is: servers on one medium, and clients.
type world struct {
	*plan
	clock
	medium  *medium
	servers []*server // the last one serves; those before it have been replaced, and do not know yet
	clients
	steps   int // done
	log     func(format string, args ...any)
	verbose bool
	lives   int
	dials   int

	blamed    *violation // where the run could not end
	abandoned bool
}

// violation is a broken promise.
type violation struct {
	step int // after so many steps
	what string
}

func (v *violation) Error() string { return fmt.Sprintf("after %d steps: %s", v.step, v.what) }

// check ends the run unless ok.
func (w *world) check(ok bool, format string, args ...any) {
	if !ok {
		panic(&violation{w.steps, fmt.Sprintf(format, args...)})
	}
}

// blame is check where nobody may be interrupted: the run ends as soon as it can.
func (w *world) blame(ok bool, format string, args ...any) {
	if !ok && w.blamed == nil {
		w.blamed = &violation{w.steps, fmt.Sprintf(format, args...)}
	}
}

// server is one life of an engine.
type server struct {
	w        *world
	name     int
	engine   *engine.Engine
	store    *faultyStore
	host     *host
	front    *front
	term     *term
	events   *engine.Subscription
	spare    []lock.Event
	dead     bool // nobody hears it any more
	draining bool
	closing  bool
	closed   bool
}

// run runs a plan and returns what it violates, or nil.
func run(p *plan, log func(format string, args ...any)) (steps int, failed *violation) {
	own := *p
	w := &world{plan: &own, log: log, verbose: log != nil, medium: newMedium()}
	w.clock.now, w.medium.piece = int64(time.Hour), p.piece
	w.clients = newClients(w)
	defer func() {
		steps = w.steps
		switch v := recover().(type) {
		case nil:
			w.abandon()
		case *violation:
			failed = v
			w.abandon()
		default: // whoever panicked may hold a mutex
			failed = &violation{w.steps, fmt.Sprintf("panic: %v", v)}
		}
	}()
	w.start(0)
	for _, s := range p.steps {
		w.do(s)
		w.steps++
	}
	w.end()
	return w.steps, nil
}

// abandon ends all servers. A strand that has not ended would keep its whole world in memory.
func (w *world) abandon() {
	w.verbose, w.abandoned = false, true
	for len(w.servers) > 0 {
		w.kill(w.servers[0])
	}
}

func (w *world) logf(format string, args ...any) {
	if w.verbose {
		w.log("%6d %12v: %s", w.steps, time.Duration(w.now)-time.Hour, fmt.Sprintf(format, args...))
	}
}

// serving is the server that clients find.
func (w *world) serving() *server { return w.servers[len(w.servers)-1] }

// start starts a server on what is durable.
func (w *world) start(order uint32) {
	w.lives++
	back := time.Duration(order%3) * time.Hour // its wall clock may be behind that of the server before
	h := &host{clock: &w.clock, boot: time.Unix(1_700_000_000, 0).Add(-back)}
	s := &server{w: w, name: w.lives, host: h}
	w.medium.epoch++
	s.store = &faultyStore{w: w, medium: w.medium, host: h, epoch: w.medium.epoch, order: order, lost: make(chan struct{}), room: make(chan struct{})}
	var st store.Store
	switch w.kind {
	case onDisk:
		st = s.store
	case shared:
		st = sharedStore{s.store}
	case instant:
		st = instantStore{s.store}
	}
	e, err := engine.Open(context.Background(), engine.Config{Store: st, Bounds: w.bounds, Logger: slog.New(slog.DiscardHandler), Host: h})
	w.check(err == nil, "a server does not start: %v", err)
	s.engine, s.term = e, newTerm(w)
	h.commits, h.standing = h.strands[0], len(h.strands)
	s.front = w.newFront(s, h.boot)
	s.committer()
	s.events = e.Follow(1<<30, lock.EventKinds()...)
	w.servers = append(w.servers, s)
	w.logf("server %d starts with %d locks", s.name, len(w.medium.records))
	w.loaded(s)
}

// kill ends a server at once. What it still says, nobody hears.
func (w *world) kill(s *server) {
	s.dead = true
	s.store.lose(errCrashed)
	s.front.kill()
	h, front := s.host, s.front.host
	for n := 0; n < 1000 && (len(h.strands)+len(front.strands) > 1 || !h.commits.ended); n++ {
		for _, one := range []*host{h, front} {
			for i := 0; i < len(one.strands); i++ {
				one.run(one.strands[i])
			}
			one.tidy()
		}
	}
	w.check(h.commits.ended && len(h.strands)+len(front.strands) == 1 || w.abandoned, "a dead server does not end")
	w.servers = slices.DeleteFunc(w.servers, func(o *server) bool { return o == s })
	w.answered = w.answered[:0]
}

// after is called when something was done with a server: it looks at what came of it.
func (w *world) after(s *server) {
	if s.dead {
		return
	}
	s.front.look()
	w.take(s)
	s.term.roomy(s)
	if w.blamed != nil {
		panic(w.blamed)
	}
	if s.quiet() {
		s.term.judge(s)
	}
}

// take takes the events, then the answers, that a server has given.
func (w *world) take(s *server) {
	events := s.events.Take(s.spare)
	for i := range events {
		var next *lock.Event
		if i+1 < len(events) {
			next = &events[i+1]
		}
		if w.verbose {
			e := &events[i]
			w.logf("  server %d: %s%s %s %s %s token %d, after %v", s.name, e.Kind, e.Why, e.Resource, e.Owner, e.ID, e.Token, e.Lasted)
		}
		s.term.event(s, &events[i], next)
	}
	s.spare = events
	for i := range w.answered {
		w.heard(&w.answered[i])
	}
	clear(w.answered)
	w.answered = w.answered[:0]
}

// quiet reports whether all that took effect is durable and told.
func (s *server) quiet() bool {
	return !s.store.failed && !s.closing && s.store.commit == nil && len(s.host.work) == 0 && !s.host.gathers
}

// committer lets the committer go on until it waits for work or for the store.
func (s *server) committer() { s.host.run(s.host.strands[0]) }
