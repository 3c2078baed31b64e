package service

import (
	"context"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// Call is one operation that somebody asks for.
type Call struct {
	Op     wire.Operation
	From   string      // who asks, for those who watch
	Fields wire.Fields // decoded for the operation
}

// start hands the call to the engine, which sends its answer to the reply. The ticket is for an acquire.
func (c *Call) start(ctx context.Context, e Engine, to lock.Reply) (ticket lock.Ticket, p *wire.Problem) {
	f := &c.Fields
	switch c.Op {
	case wire.Acquire:
		req, p := f.Acquire()
		if p != nil {
			return ticket, p
		}
		return e.Acquire(&req, to), nil
	case wire.Release:
		ref := f.Ref()
		e.Release(&ref, to)
	case wire.Renew:
		ref := f.Ref()
		e.Renew(&ref, f.Duration(wire.FieldExpire), to)
	case wire.ForceRelease:
		e.ForceRelease(f.Text(wire.FieldResource), f.Number(wire.FieldToken), c.From, to)
	case wire.Show:
		e.Show(f.Text(wire.FieldResource), to)
	case wire.List:
		e.List(ctx, f.Query(), to)
	default:
		return ticket, &wire.Problem{Code: wire.Internal, Detail: "the server has a bug: it does not know how to " + c.Op.String()}
	}
	return ticket, nil
}

// Do runs a call and waits for its answer. It returns false if ctx ended first, so that nobody is left to be told.
func (s *Service) Do(ctx context.Context, c *Call) (Result, bool) {
	r := Result{call: c}
	t := s.term.Load()
	if t == nil {
		r.problem = loading()
		return r, true
	}
	r.engine = t.engine
	to := s.sinks.Get().(*sink)
	if r.ticket, r.problem = c.start(ctx, r.engine, lock.Reply{To: to}); r.problem != nil {
		s.sinks.Put(to)
		return r, true
	}
	select {
	case r.answer = <-to.answer:
		s.sinks.Put(to)
	case <-ctx.Done(): // the sink may still get its answer, so it must not be reused
		r.Undelivered()
		return r, false
	}
	// If the caller went away as the answer came, nothing has been written yet, so the grant is withdrawn.
	if c.Op == wire.Acquire && ctx.Err() != nil {
		r.Undelivered()
		return r, false
	}
	r.problem = wire.Refusal(&r.answer)
	return r, true
}

// sink receives the answer to one operation.
type sink struct{ answer chan lock.Answer }

func newSink() *sink { return &sink{answer: make(chan lock.Answer, 1)} }

// Answer is called under the engine's mutex. There is room for the one answer, so it never blocks.
func (s *sink) Answer(_ uint64, a *lock.Answer) { s.answer <- *a }
