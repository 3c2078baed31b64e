// Package engine runs one lock table: it gives it the time, commits its changes in order, many at once, and lets an answer go only
// when what it rests on is durable.
//
// Operations are asynchronous. Each takes effect in the table under one mutex, and its answer comes to a sink: at once where all it
// rests on is durable already, else from the committer. Whoever wants to block does so on top.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
)

// Config is what an engine needs.
type Config struct {
	Store  store.Store
	Bounds lock.Bounds
	Logger *slog.Logger
}

// ErrClosed is the reason of a failure that Close brought about.
var ErrClosed = errors.New("engine is closed")

// Engine runs one lock table on one store.
type Engine struct {
	store   store.Store
	instant bool // the store commits at once
	log     *slog.Logger
	start   time.Time // origin of the table's clock

	mu       sync.Mutex
	table    *lock.Table
	pending  *batch     // what the next commit will take; the table appends to it
	inflight *batch     // what is being committed; nil if nothing is
	spare    *batch     // to be used again; nil if inflight is not
	settled  int        // answers of pending that settle has looked at
	taken    *sync.Cond // the committer has taken what was pending
	durable  uint64     // all changes up to this Seq are durable
	err      error      // why the engine failed; nil while it works
	alarm    *time.Timer
	armed    int64 // when the alarm goes off; 0: it does not
	commits  CommitStats

	subscriptions []*Subscription

	work   chan struct{} // wakes the committer
	failed chan struct{} // closed with err
	closed chan struct{} // closed by Close
	done   chan struct{} // closed when the committer has ended
	once   sync.Once

	logged chan struct{} // closed when all events are in the log
}

// Open loads the store and starts the engine. Leases get their full length again, counted from now.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	e := &Engine{
		store: cfg.Store, log: cfg.Logger, pending: &batch{}, spare: &batch{},
		work: make(chan struct{}, 1), failed: make(chan struct{}), closed: make(chan struct{}), done: make(chan struct{}),
		logged: make(chan struct{}),
	}
	e.taken = sync.NewCond(&e.mu)
	_, e.instant = cfg.Store.(store.Instant)
	e.table = lock.New(cfg.Bounds, time.Now().UnixMicro(), &e.pending.Effects)
	records := 0
	began := time.Now()
	last, err := cfg.Store.Load(ctx, func(rec lock.Record) error {
		records++
		if err := e.table.Restore(loadTime, &rec); err != nil {
			return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("load the locks: %w", err)
	}
	e.table.Loaded(last)
	// The table's clock has stood still so far: however long the load took, no lease is shorter for it.
	e.start = time.Now()
	e.alarm = time.AfterFunc(time.Hour, e.ring)
	e.mu.Lock()
	e.arm(e.now())
	e.mu.Unlock()
	go e.commitLoop()
	kinds := []lock.EventKind{lock.EventEvicted}
	if e.log.Enabled(ctx, slog.LevelDebug) {
		kinds = append(kinds, lock.EventExpired)
	}
	go e.logEvents(e.Subscribe(1024, kinds...))
	e.log.Info("locks loaded", "locks", records, "took", time.Since(began).Round(time.Millisecond))
	return e, nil
}

// loadTime is what the table's clock shows when it starts.
const loadTime = 1

// now is the table's clock: monotonic, and never 0.
func (e *Engine) now() int64 { return int64(time.Since(e.start)) + loadTime }

// Failed is closed when the store has failed, but not by Close. Every answer from then on is lock.Unavailable.
func (e *Engine) Failed() <-chan struct{} { return e.failed }

// Err says why the engine failed; nil while it works.
func (e *Engine) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// Close commits what has taken effect and ends the engine. The store stays open. Operations after it are answered with
// lock.Unavailable. It returns the context's error where the store takes longer.
func (e *Engine) Close(ctx context.Context) error {
	e.once.Do(func() { close(e.closed) })
	for _, part := range []chan struct{}{e.done, e.logged} {
		select {
		case <-part:
		case <-ctx.Done():
			return fmt.Errorf("close the engine: %w", ctx.Err())
		}
	}
	e.alarm.Stop()
	if err := e.Err(); err != nil && !errors.Is(err, ErrClosed) {
		return err
	}
	return nil
}

// Stats tells what the table holds and what has happened to it.
func (e *Engine) Stats() lock.Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.table.Stats()
}
