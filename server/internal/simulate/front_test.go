package simulate_test

import (
	"context"
	"log/slog"
	"slices"
	"time"

	"github.com/lockserver/lockserver/server/internal/engine"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/service"
	"github.com/lockserver/lockserver/server/internal/session"
)

// front is the front end of a server: its sessions, which run on a host of their own.
type front struct {
	s        *server
	host     *host
	service  *service.Service
	sessions *session.Server
	losses   *engine.Subscription
	tunnels  []*tunnel
	holders  map[int64]*tunnel  // by token: who is told of its loss
	stands   bool               // the server serves no more
	deadline int64              // when the server stops waiting for its sessions, or 0
	hurry    context.CancelFunc // then
}

func (w *world) newFront(s *server, boot time.Time) *front {
	f := &front{s: s, host: &host{clock: &w.clock, boot: boot}, holders: map[int64]*tunnel{}}
	f.service = service.New(service.Config{Secrets: []string{"secret"}})
	f.service.Serve(through{s})
	f.sessions = session.NewServer(f.service, session.Config{
		MaxOperations: w.sessions.operations, MaxUnsent: w.sessions.unsent, WriteTimeout: writeTimeout, LeasesAtOnce: w.sessions.slice,
		Logger: slog.New(slog.DiscardHandler), Host: f.host,
	})
	f.losses = s.engine.Subscribe(1<<12, session.Lost...)
	return f
}

const (
	writeTimeout    = 10 * time.Second
	shutdownTimeout = 20 * time.Second
	failureGrace    = time.Second
)

// dial begins a session.
func (f *front) dial(t *tunnel) {
	f.host.about = t
	n := len(f.host.strands)
	f.sessions.Serve(t, nil, "client")
	f.host.about = nil
	if len(f.host.strands) > n {
		t.line = f.host.strands[n]
		f.tunnels = append(f.tunnels, t)
		return
	}
	f.s.w.check(t.closed && (f.s.draining || f.stands), "session %d is refused without need", t.n)
}

// turn lets a strand go on.
func (f *front) turn(x *strand) {
	w := f.s.w
	f.host.run(x)
	if w.blamed != nil {
		panic(w.blamed)
	}
	if t := x.about; t != nil && t.line.ended && !t.over {
		t.end()
		f.tunnels = slices.DeleteFunc(f.tunnels, func(o *tunnel) bool { return o == t })
	}
}

// settle lets all strands go on until they wait.
func (f *front) settle() {
	for range 3 {
		for i := 0; i < len(f.host.strands); i++ {
			f.turn(f.host.strands[i])
		}
		f.host.tidy()
	}
}

// tell tells sessions of losses, and of those who want a lock.
func (f *front) tell() {
	for {
		select {
		case batch, ok := <-f.losses.Events:
			if !ok {
				return
			}
			for i := range batch {
				f.expect(&batch[i])
			}
			f.sessions.Tell(batch)
		default:
			return
		}
	}
}

// expect notes what an event must tell a session.
func (f *front) expect(e *lock.Event) {
	t := f.holders[e.Token]
	if t == nil {
		return
	}
	p := &message{event: "lost", token: e.Token, reason: e.Kind.String()}
	if e.Kind == lock.EventYield {
		p.event, p.reason = "yield", e.By
	} else {
		delete(f.holders, e.Token)
		delete(t.held, e.Token)
	}
	t.expects(p)
}

// stop has sessions end once all is answered, as a server does that shuts down. Its engine is closed after that.
func (f *front) stop() {
	w, s := f.s.w, f.s
	for _, t := range f.tunnels {
		t.expects(&message{event: "draining"})
	}
	f.service.Drain()
	f.sessions.Drain()
	s.engine.Drain()
	w.after(s)
	ctx, cancel := context.WithCancel(context.Background())
	f.hurry, f.deadline = cancel, w.now+int64(shutdownTimeout)
	closed := func() {
		err := s.engine.Close(context.Background())
		w.check(s.store.failed || err == nil, "a server does not close well: %v", err)
		s.closed = true
	}
	if w.kind == shared { // the next server may lead before the sessions have ended
		f.service.Withdraw()
		f.stands, s.closing = true, true
		s.host.Go(closed)
		closed = func() {}
	}
	f.host.Go(func() {
		_ = f.sessions.Shutdown(ctx)
		s.closing = true
		s.host.Go(closed)
	})
}

// live has all clients that live take what there is, send what they have, and answer pings.
func (f *front) live() {
	for _, t := range slices.Clone(f.tunnels) {
		t.flow(len(t.up), len(t.out))
		t.pong()
		t.flow(len(t.up), len(t.out))
	}
	f.settle()
}

// idle reports whether nothing is on its way.
func (f *front) idle() bool {
	for _, t := range f.tunnels {
		switch { // of one who is silent, the server does what has come, as long as its answers find room
		case t.cut:
		case len(t.in) > 0 && len(t.out) < f.s.w.sessions.buffer, !t.frozen && len(t.up)+len(t.in)+len(t.out) > 0:
			return false
		}
	}
	return true
}

// atRest checks that those who are gone are forgotten, and that all others have all that they were to get.
func (f *front) atRest() {
	w := f.s.w
	for _, t := range f.tunnels {
		w.check(!t.cut && !t.frozen && t.closes == 0, "session %d never ends", t.n)
		for _, r := range t.requests {
			w.check(false, "session %d: %s is never answered", t.n, r)
		}
		w.check(len(t.queue) == 0, "session %d is never told of what it has lost, or who wants it", t.n)
	}
	w.check(f.sessions.Sessions() == len(f.tunnels), "%d sessions are counted, but there are %d", f.sessions.Sessions(), len(f.tunnels))
}

// look does what a server does when its store has failed, or when its time is over.
func (f *front) look() {
	if f.s.store.failed && f.s.engine.Err() != nil && !f.stands {
		f.stands = true
		f.service.Withdraw()
		f.sessions.StandBy()
	}
	if f.deadline != 0 && f.s.w.now >= f.deadline {
		f.deadline = 0
		f.hurry()
	}
}

// kill ends all sessions at once.
func (f *front) kill() {
	for _, t := range f.tunnels {
		t.cut, t.over = true, true
	}
	if f.hurry != nil {
		f.hurry()
	}
}

// through is the engine as the sessions of a server know it. It notes what they ask for.
type through struct{ *server }

func (f through) Acquire(req *lock.Request, to lock.Reply) lock.Ticket {
	t, r := f.next(to)
	if f.dead {
		return f.engine.Acquire(req, to)
	}
	f.w.check(r != nil && (r.what == acquire || r.what == again) && r.req == *req, "session %d: acquires %v, but %s was to be next", t.n, *req, r)
	c := f.ask(t, r, r.what, *req, to)
	c.ticket = f.engine.Acquire(&c.req, lock.Reply{To: f.w, N: c.n})
	r.ticket = c.ticket
	f.asked(t, r)
	return c.ticket
}

func (f through) Release(ref *lock.Ref, to lock.Reply) {
	t, r := f.next(to)
	if f.dead {
		f.engine.Release(ref, to)
		return
	}
	f.w.check(r != nil && r.what == release && r.ref == *ref, "session %d: releases %v, but %s was to be next", t.n, *ref, r)
	c := f.ask(t, r, release, lock.Request{Resource: ref.Resource, Owner: ref.Owner, ID: ref.ID}, to)
	f.engine.Release(&c.ref, lock.Reply{To: f.w, N: c.n})
	f.asked(t, r)
}

func (f through) Renew(ref *lock.Ref, expire time.Duration, to lock.Reply) {
	if f.dead {
		f.engine.Renew(ref, expire, to)
		return
	}
	t := f.front.host.about
	r := t.renewal(ref, to)
	if r == nil {
		t, r = f.next(to)
		f.w.check(r != nil && r.what == renew && r.ref == *ref && r.expire == expire, "session %d: renews %v, but %s was to be next", t.n, *ref, r)
	}
	c := f.ask(t, r, renew, lock.Request{Resource: ref.Resource, Owner: ref.Owner, ID: ref.ID}, to)
	f.engine.Renew(&c.ref, expire, lock.Reply{To: f.w, N: c.n})
	f.asked(t, r)
}

func (f through) Show(resource string, to lock.Reply) {
	t, r := f.next(to)
	if f.dead {
		f.engine.Show(resource, to)
		return
	}
	f.w.check(r != nil && r.what == show && r.req.Resource == resource, "session %d: looks at %q, but %s was to be next", t.n, resource, r)
	c := f.ask(t, r, show, lock.Request{Resource: resource}, to)
	f.engine.Show(resource, lock.Reply{To: f.w, N: c.n})
	f.asked(t, r)
}

func (f through) Leave(ticket lock.Ticket) {
	if t := f.front.host.about; !f.dead && ticket != (lock.Ticket{}) {
		r := t.byTicket(ticket)
		f.w.check(r != nil && !r.handed && !r.left, "session %d: gives back what it has delivered, or given back: %s", t.n, r)
		r.left = true
		if c := r.call; !c.left && (!c.done || c.code == lock.Granted) {
			f.w.logf("server %d: session %d gives %d back", f.name, t.n, c.n)
			f.w.gone(c)
		}
	}
	f.engine.Leave(ticket)
	if !f.dead {
		f.w.take(f.server)
	}
}

func (f through) ForceRelease(string, int64, string, lock.Reply) { f.never() }
func (f through) Yield(string, int64, string, lock.Reply)        { f.never() }
func (f through) List(context.Context, lock.Query, lock.Reply)   { f.never() }
func (f through) Failed() <-chan struct{}                        { return f.engine.Failed() }
func (f through) never()                                         { f.w.check(false, "a session asks for what it has no operation for") }

// next is the request that a session has to ask for now: the first one that was sent, but for those that are wrong in themselves, or that ask
// the engine for nothing.
func (f through) next(to lock.Reply) (*tunnel, *request) {
	t := f.front.host.about
	if t != nil {
		t.sink = to.To
	}
	for !f.dead && len(t.sent) > 0 {
		r := t.sent[0]
		t.sent = t.sent[1:]
		if r.wrong == "" && r.what != keepalive {
			return t, r
		}
	}
	return t, nil
}

// ask makes a call of a request.
func (f through) ask(t *tunnel, r *request, what action, req lock.Request, to lock.Reply) *call {
	c := f.w.newCall(f.server, what, req)
	c.ref, c.expire, c.to, c.request, c.tunnel = r.ref, r.expire, to, r, t
	t.order++
	r.call, r.begun = c, t.order
	if r.group == nil {
		t.begins()
	}
	f.w.logf("server %d: session %d: %s", f.name, t.n, c)
	f.w.asked(c)
	return c
}

// asked notes what the engine has made of it.
func (f through) asked(t *tunnel, r *request) {
	f.w.did(r.call)
	if !r.answered && !r.ticket.Parked() && r.group == nil {
		r.active = true
		t.active++
	}
	f.w.check(t.active <= f.w.sessions.operations, "session %d has %d operations on their way, allowed %d", t.n, t.active, f.w.sessions.operations)
	f.w.take(f.server)
}
