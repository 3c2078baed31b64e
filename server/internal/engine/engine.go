// Package engine runs one lock table. It tells the table the time, commits its changes in order and in batches, and lets an answer go
// only when what it depends on is durable.
//
// Operations are asynchronous. Each takes effect in the table under one mutex. Its answer goes to a sink: at once if all that it
// depends on is durable, else from the committer.
package engine

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/lockserver/lockserver/server/internal/fault"
	"github.com/lockserver/lockserver/server/internal/host"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
)

// Config is what an engine needs.
type Config struct {
	Store  store.Store
	Bounds lock.Bounds
	Logger *slog.Logger
	Host   host.Host // nil: this machine
}

// ErrClosed is what an engine failed with if Close ended it.
var ErrClosed = errors.New("engine is closed")

// Engine runs one lock table on one store.
type Engine struct {
	store   store.Store
	instant bool // the store is a store.Instant
	shared  bool // the store is a store.Shared
	log     *slog.Logger
	host    host.Host
	start   time.Time // origin of the table's clock

	mu            sync.Mutex
	table         *lock.Table
	pending       *batch    // the table appends to it
	inflight      *batch    // what is being committed, or nil
	spare         *batch    // the batch that is neither
	settled       int       // how many answers of pending have been settled, and stay
	taken         host.Cond // a commit has taken what was pending
	durable       uint64    // all changes up to this Seq are durable
	err           error     // why the engine has ended
	alarm         host.Alarm
	armed         int64 // when the alarm goes off, or 0
	commits       CommitStats
	crowd         crowd // at the last commit
	subscriptions []*Subscription

	survey survey

	work   chan struct{} // wakes the committer
	failed chan struct{} // closed with err, unless it is ErrClosed
	closed chan struct{} // closed by Close
	done   chan struct{} // closed when the committer has ended
	logged chan struct{} // closed when all events are in the log
	once   sync.Once
}

// Open loads the store and starts the engine. All leases start again, with their full length.
func Open(ctx context.Context, cfg Config) (*Engine, error) {
	e := &Engine{
		store: cfg.Store, log: cfg.Logger, host: cfg.Host, pending: &batch{}, spare: &batch{},
		work: make(chan struct{}, 1), failed: make(chan struct{}), closed: make(chan struct{}), done: make(chan struct{}),
		logged: make(chan struct{}),
	}
	if e.host == nil {
		e.host = host.Machine{}
	}
	e.taken = e.host.Cond(&e.mu)
	_, e.instant = cfg.Store.(store.Instant)
	_, e.shared = cfg.Store.(store.Shared)
	e.table = lock.New(cfg.Bounds, e.host.Now().UnixMicro()+fault.Step(), &e.pending.Effects)
	records := 0
	began := e.host.Now()
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
	// The table's clock starts only now, so that no lease is shorter by the time that the load took.
	e.start = e.host.Now()
	e.alarm = e.host.AfterFunc(time.Hour, e.ring)
	e.mu.Lock()
	e.arm(e.now())
	e.mu.Unlock()
	e.host.Go(e.commitLoop)
	e.startLog(ctx)
	if bounded, ok := cfg.Store.(store.Bounded); ok {
		full, changed := bounded.Full()
		e.setFull(full)
		e.host.Go(func() { e.watchRoom(bounded, changed) })
	}
	e.log.Info("locks loaded", "locks", records, "took", e.host.Since(began).Round(time.Millisecond))
	return e, nil
}

// loadTime is the table's time until the clock starts.
const loadTime = 1

// now is the table's clock: monotonic, and never 0.
func (e *Engine) now() int64 { return int64(e.host.Since(e.start)) + loadTime }

// Failed is closed when the store has failed, but not by Close. From then on every answer is lock.Unavailable.
func (e *Engine) Failed() <-chan struct{} { return e.failed }

// Err returns why the engine has ended, or nil.
func (e *Engine) Err() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.err
}

// Close commits what has taken effect and ends the engine, but leaves the store open. From then on every answer is lock.Unavailable.
// It returns the context's error if the store takes longer, and the engine's if that has failed.
func (e *Engine) Close(ctx context.Context) error {
	e.once.Do(func() { close(e.closed) })
	for _, part := range []chan struct{}{e.done, e.logged} {
		if e.host.Wait(part, ctx.Done(), nil, nil) != 0 {
			return fmt.Errorf("close the engine: %w", ctx.Err())
		}
	}
	e.alarm.Stop()
	if err := e.Err(); err != nil && !errors.Is(err, ErrClosed) {
		return err
	}
	return nil
}

// Stats returns what the table holds and what has happened to it.
func (e *Engine) Stats() lock.Stats {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.table.Stats()
}

// Contended returns the resources that others have waited for most often since the engine began, at most n.
func (e *Engine) Contended(n int) []lock.Contended {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.table.Contended(n)
}
