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
// reports whether another term is to follow, because another server has taken over the store. The engine of a term answers all that
// it was asked, and no later engine knows of it.
func (a *App) term(ctx context.Context) (again bool, err error) {
	st, err := a.open(ctx)
	if err != nil {
		return a.notBegun(ctx, err)
	}
	defer func() {
		if closed := st.Close(); again && closed != nil {
			a.log.Warn("store lost, and not closed", "error", closed)
		} else {
			err = errors.Join(err, closed)
		}
	}()
	eng, err := engine.Open(ctx, engine.Config{
		Store: st,
		Bounds: lock.Bounds{
			MaxLocks: a.opts.MaxLocks, MaxWaiters: a.opts.MaxWaiters, MaxRemembered: a.opts.MaxRemembered, MaxWait: a.opts.MaxWait,
		},
		Logger: a.log,
	})
	if err != nil {
		return a.notBegun(ctx, err)
	}
	defer func() {
		// If its store failed, the engine returns that failure again.
		if closed := a.closeEngine(eng); err == nil && !again {
			err = closed
		}
	}()

	a.metrics.Watch(eng)
	losses := eng.Subscribe(session.MaxLost, session.Lost...)
	go a.sessions.Watch(losses.Events, &losses.Dropped)
	a.service.Serve(eng)
	defer a.service.Withdraw()
	a.begun.Do(func() { close(a.ready) })
	a.log.Info("serving", "address", a.Addr().String(), "store", a.opts.Store.String())

	select {
	case <-ctx.Done():
		a.log.Info("shutting down", "timeout", a.opts.ShutdownTimeout)
		a.service.Drain()
		a.sessions.Drain()
		eng.Drain()
		a.drain(a.opts.ShutdownTimeout)
	case <-eng.Failed():
		if a.replaced(eng.Err()) {
			return true, nil
		}
		a.drain(failureGrace)
	}
	if err := eng.Err(); err != nil {
		a.log.Error("store failed", "store", a.opts.Store.String(), "error", err)
		return false, fmt.Errorf("store failed: %w", err)
	}
	return false, nil
}

// notBegun decides what follows a term that could not begin.
func (a *App) notBegun(ctx context.Context, err error) (again bool, _ error) {
	switch {
	case ctx.Err() != nil:
		return false, nil
	case a.replaced(err):
		return true, nil
	default:
		return false, fmt.Errorf("--store %s: %w", a.opts.Store, err)
	}
}

// replaced reports whether another server has taken over the store.
func (a *App) replaced(err error) bool {
	if !errors.Is(err, store.ErrReplaced) {
		return false
	}
	a.log.Warn("standing by", "store", a.opts.Store.String(), "reason", err)
	return true
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
func openStore(s config.Store, log *slog.Logger) (store.Store, error) {
	if s.Kind == "memory" {
		return memory.New(), nil
	}
	return disk.Open(s.Target, log)
}
