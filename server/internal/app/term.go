package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/lockserver/lockserver/server/internal/config"
	"github.com/lockserver/lockserver/server/internal/engine"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/session"
	"github.com/lockserver/lockserver/server/internal/store"
	"github.com/lockserver/lockserver/server/internal/store/disk"
	"github.com/lockserver/lockserver/server/internal/store/memory"
)

// failureGrace is how long clients have to get their answers when the store has failed.
const failureGrace = time.Second

// term serves once: it waits for the right to write the store, loads the locks, serves with a fresh engine, and withdraws it. It
// returns nil when ctx has ended, and else why the store failed. The engine of a term answers all that it was asked, and no later
// engine knows of it.
func (a *App) term(ctx context.Context) (err error) {
	defer func() {
		if errors.Is(err, store.ErrReplaced) {
			a.metrics.Unwatch()
			a.log.Warn("standing by", "reason", err)
		}
	}()
	var eng *engine.Engine
	st, err := a.open(ctx)
	if err == nil {
		defer func() { err = errors.Join(err, st.Close()) }()
		eng, err = engine.Open(ctx, engine.Config{
			Store: st,
			Bounds: lock.Bounds{
				MaxLocks: a.opts.MaxLocks, MaxWaiters: a.opts.MaxWaiters, MaxRemembered: a.opts.MaxRemembered, MaxWait: a.opts.MaxWait,
				MaxHold: a.opts.MaxHold, StuckAfter: a.opts.StuckAfter,
			},
			Logger: a.log,
		})
	}
	switch {
	case err != nil && ctx.Err() != nil:
		if a.forward != nil {
			a.forward.Drain()
			a.drain(a.opts.ShutdownTimeout)
		}
		return nil
	case err != nil:
		return fmt.Errorf("--store %s: %w", a.opts.Store, err)
	}
	defer func() {
		// If its store failed, the engine returns that failure again.
		if closed := a.closeEngine(eng); err == nil {
			err = closed
		}
	}()

	a.metrics.Watch(eng)
	losses := eng.Subscribe(session.MaxLost, session.Lost...)
	go a.sessions.Watch(losses.Events, &losses.Dropped)
	a.events.Serve(eng)
	defer a.events.Withdraw()
	a.stats.Serve(eng)
	defer a.stats.Withdraw()
	a.sessions.Lead()
	a.service.Serve(eng)
	defer func() {
		a.service.Withdraw()
		a.sessions.StandBy()
	}()
	a.terms.Add(1)
	a.log.Info("serving", "address", a.Addr().String(), "store", a.opts.Store.String())
	a.begun.Do(a.ready)

	select {
	case <-ctx.Done():
		a.log.Info("shutting down", "timeout", a.opts.ShutdownTimeout)
		a.service.Drain()
		a.sessions.Drain()
		eng.Drain()
		a.events.Drain()
		if _, shared := st.(store.Shared); shared {
			err := a.resign(eng, st)
			a.drain(a.opts.ShutdownTimeout)
			return err
		}
		a.drain(a.opts.ShutdownTimeout)
	case <-eng.Failed():
		if errors.Is(eng.Err(), store.ErrReplaced) {
			return eng.Err()
		}
		a.events.Withdraw()
		a.drain(failureGrace)
	}
	if err := eng.Err(); err != nil {
		a.log.Error("store failed", "store", a.opts.Store.String(), "error", err)
		return fmt.Errorf("store failed: %w", err)
	}
	return nil
}

// resign lets the next server lead as soon as what has taken effect is committed, and then ends what is left of this one's requests.
func (a *App) resign(eng *engine.Engine, st store.Store) error {
	if a.forward != nil {
		a.forward.Drain()
	}
	a.service.Withdraw()
	err := a.closeEngine(eng)
	if errors.Is(err, store.ErrReplaced) {
		err = nil
	}
	return errors.Join(err, st.Close())
}

// drain lets the requests in flight end, on every transport.
func (a *App) drain(limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	var all sync.WaitGroup
	for _, drain := range a.drains {
		all.Go(func() {
			if err := drain(ctx); err != nil {
				a.log.Warn("requests cut off", "after", limit, "error", err)
			}
		})
	}
	all.Wait()
}

// closeEngine commits what has taken effect. It has its own time limit, as the store may hang.
func (a *App) closeEngine(eng *engine.Engine) error {
	ctx, cancel := context.WithTimeout(context.Background(), max(a.opts.ShutdownTimeout, failureGrace))
	defer cancel()
	return eng.Close(ctx)
}

// openStore opens a store that belongs to one server, so it need not wait for the right to write.
func openStore(opts *config.Options, log *slog.Logger) (store.Store, error) {
	if opts.Store.Kind == "memory" {
		return memory.New(), nil
	}
	return disk.Open(opts.Store.Target, int64(opts.DiskReserve), log)
}
