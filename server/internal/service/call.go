package service

import (
	"cmp"
	"context"

	"github.com/lockserver/lockserver/server/internal/fault"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// Call is one operation that somebody asks for.
type Call struct {
	Op       wire.Operation
	From     string      // who asks, for those who watch
	Fields   wire.Fields // decoded for the operation
	Uncapped bool        // --max-wait does not cap its wait

	request lock.Request // what the fields make, kept here as the engine takes it by reference
	ref     lock.Ref
}

// Ticket names the request of an acquire.
type Ticket struct {
	term *term
	lock lock.Ticket
}

// Parked reports whether the request had to wait for others when it was made.
func (t Ticket) Parked() bool { return t.lock.Parked() }

// Named returns what the request named, if it was parked. Only a sink may ask, while it takes the answer.
func (t Ticket) Named() (resource, owner, id string) { return t.lock.Named() }

// Leave withdraws the request: its caller is gone, or the grant did not reach it, because the caller went away before the first byte
// was written or because the write failed. The lock then passes to the next waiter. For an acquire that was refused, and for the zero
// Ticket, it does nothing.
func (t Ticket) Leave() {
	if t.term != nil {
		t.term.engine.Leave(t.lock)
	}
}

// Start hands a call to the engine, which sends its answer to the reply, perhaps before Start returns. If there is a problem, no
// answer comes. The ticket is for an acquire. The call may be used again once Start has returned.
func (s *Service) Start(ctx context.Context, c *Call, to lock.Reply) (Ticket, *wire.Problem) {
	t := s.term.Load()
	if t == nil {
		return Ticket{}, wire.Loading()
	}
	return c.start(ctx, t, to)
}

func (c *Call) start(ctx context.Context, t *term, to lock.Reply) (ticket Ticket, p *wire.Problem) {
	e, f := t.engine, &c.Fields
	switch c.Op {
	case wire.Acquire:
		if c.request, p = f.Acquire(); p != nil {
			return ticket, p
		}
		c.request.Uncapped = c.Uncapped
		return Ticket{t, e.Acquire(&c.request, to)}, nil
	case wire.Release:
		c.ref = f.Ref()
		e.Release(&c.ref, to)
	case wire.Renew:
		c.ref = f.Ref()
		e.Renew(&c.ref, f.Duration(wire.FieldExpire), to)
	case wire.ForceRelease:
		e.ForceRelease(f.Text(wire.FieldResource), f.Number(wire.FieldToken), c.From, to)
	case wire.Yield:
		e.Yield(f.Text(wire.FieldResource), f.Number(wire.FieldToken), cmp.Or(f.Text(wire.FieldBy), c.From), to)
	case wire.Show:
		e.Show(f.Text(wire.FieldResource), to)
	case wire.List:
		e.List(ctx, f.Query(), to)
	default:
		return ticket, &wire.Problem{Code: wire.Internal, Detail: "the server has a bug: it does not know how to " + c.Op.String()}
	}
	return ticket, nil
}

// Renew renews one lease by its own length, for a front end that keeps leases alive by itself. If there is a problem, no answer comes.
func (s *Service) Renew(ref *lock.Ref, to lock.Reply) *wire.Problem {
	t := s.term.Load()
	if t == nil {
		return wire.Loading()
	}
	t.engine.Renew(ref, 0, to)
	return nil
}

// Do runs a call and waits for its answer. It returns false if ctx ended first, so that nobody is left to be told.
func (s *Service) Do(ctx context.Context, c *Call) (Result, bool) {
	r := c.result()
	to := s.sinks.Get().(*sink)
	ticket, p := s.Start(ctx, c, lock.Reply{To: to})
	r.Ticket = ticket
	if p != nil {
		s.sinks.Put(to)
		r.Problem = p
		return r, true
	}
	select {
	case answer := <-to.answer:
		s.sinks.Put(to)
		r.Set(&answer)
	case <-ctx.Done(): // the sink may still get its answer, so it must not be reused
		if !fault.WaiterKept {
			ticket.Leave()
		}
		return r, false
	}
	// If the caller went away as the answer came, nothing has been written yet, so the grant is withdrawn.
	if c.Op == wire.Acquire && ctx.Err() != nil {
		ticket.Leave()
		return r, false
	}
	return r, true
}

// sink receives the answer to one operation.
type sink struct{ answer chan lock.Answer }

func newSink() *sink { return &sink{answer: make(chan lock.Answer, 1)} }

// Answer is called under the engine's mutex. There is room for the one answer, so it never blocks.
func (s *sink) Answer(_ uint64, a *lock.Answer) { s.answer <- *a }
