// Package service runs an operation from request to reply, whatever the transport: it decides who may ask, calls the engine, makes the
// reply, withdraws a grant that cannot be delivered, and counts. A front end only reads bytes, calls the service, and writes
// bytes.
package service

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// Engine is what the service needs of the engine; see there for what each method promises.
type Engine interface {
	Acquire(req *lock.Request, to lock.Reply) lock.Ticket
	Release(ref *lock.Ref, to lock.Reply)
	Renew(ref *lock.Ref, expire time.Duration, to lock.Reply)
	ForceRelease(resource string, token int64, by string, to lock.Reply)
	Yield(resource string, token int64, by string, to lock.Reply)
	Show(resource string, to lock.Reply)
	List(ctx context.Context, q lock.Query, to lock.Reply)
	Leave(t lock.Ticket)
	Failed() <-chan struct{}
}

// Config is what a service needs.
type Config struct {
	Secrets         []string     // each is accepted
	MaxWrongSecrets int          // from one address in a minute; 0 for no limit
	Observer        Observer     // nil for none
	Auditor         Auditor      // nil for none
	Logger          *slog.Logger // hears of an address with that many
}

// Auditor notes who asked for what. It must not wait.
type Auditor interface{ Done(d *wire.Done) }

// Observer counts operations.
type Observer interface {
	Request(operation, outcome string, took time.Duration)
}

// Service runs operations on the engine of the current term. Between terms it answers that the server is loading.
type Service struct {
	secrets  atomic.Pointer[secrets]
	guesses  *guesses // nil without a limit
	observer Observer
	auditor  Auditor
	term     atomic.Pointer[term] // nil between terms
	sinks    sync.Pool            // of *sink
}

// term is a time of serving, with one engine.
type term struct {
	engine   Engine
	draining atomic.Bool
}

// New makes a service without an engine.
func New(cfg Config) *Service {
	s := &Service{observer: cfg.Observer, auditor: cfg.Auditor}
	s.SetSecrets(cfg.Secrets)
	if cfg.MaxWrongSecrets > 0 {
		s.guesses = newGuesses(cfg.MaxWrongSecrets, cfg.Logger)
	}
	s.sinks.New = func() any { return newSink() }
	return s
}

// Serve begins a term: operations now go to e.
func (s *Service) Serve(e Engine) { s.term.Store(&term{engine: e}) }

// Withdraw ends a term. Operations that the engine already has are the engine's to answer.
func (s *Service) Withdraw() { s.term.Store(nil) }

// Serving reports whether this is a term.
func (s *Service) Serving() bool { return s.term.Load() != nil }

// Drain makes Ready report, for the rest of the term, that the server is shutting down. The engine decides what becomes of
// operations.
func (s *Service) Drain() {
	if t := s.term.Load(); t != nil {
		t.draining.Store(true)
	}
}

// Ready returns why the server cannot serve, or nil if it can.
func (s *Service) Ready() *wire.Problem {
	t := s.term.Load()
	switch {
	case t == nil:
		return wire.Loading()
	case t.draining.Load():
		return &wire.Problem{Code: wire.Draining, Detail: "the server shuts down", Reason: "draining"}
	}
	select {
	case <-t.engine.Failed():
		return &wire.Problem{Code: wire.StoreUnavailable, Detail: "the store failed, and the server ends", Reason: "failed"}
	default:
		return nil
	}
}

// Audit notes the answer to who asked from that address to take or free a lock.
func (s *Service) Audit(from string, r *Result) {
	if s.auditor == nil || r.Op != wire.Acquire && r.Op != wire.Release && r.Op != wire.ForceRelease {
		return
	}
	s.auditor.Done(&wire.Done{
		Op: r.Op, Time: time.Now(), From: from, Resource: r.Resource, Owner: r.Owner, ID: r.ID, Token: r.answer.Token, Result: r.Outcome(),
	})
}

// Count records the outcome of an operation.
func (s *Service) Count(op wire.Operation, outcome string, took time.Duration) {
	if s.observer == nil {
		return
	}
	name := op.String()
	if op == wire.Healthz || op == wire.Readyz {
		name = "health" // one label, as both are only asked by machines
	}
	s.observer.Request(name, outcome, took)
}
