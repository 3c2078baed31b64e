// Package app puts the parts of the server together, and starts and ends them in order.
package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/lockserver/lockserver/server/internal/config"
	"github.com/lockserver/lockserver/server/internal/engine"
	"github.com/lockserver/lockserver/server/internal/httpapi"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/metrics"
	"github.com/lockserver/lockserver/server/internal/service"
	"github.com/lockserver/lockserver/server/internal/store"
	"github.com/lockserver/lockserver/server/internal/store/disk"
	"github.com/lockserver/lockserver/server/internal/store/memory"
)

// App is a server: its listener is open from [New] on, and it serves in [App.Run].
type App struct {
	opts     *config.Options
	log      *slog.Logger
	service  *service.Service
	metrics  *metrics.Metrics
	http     *http.Server
	silent   *httpapi.Silent
	listener net.Listener
	ready    chan struct{}
	closing  sync.Once
}

const (
	// failureGrace is how long the answers that tell of a failed store may take to leave.
	failureGrace = time.Second
	// silentGrace is how long a connection that was just opened has for its first request when the server shuts down.
	silentGrace = 200 * time.Millisecond
)

// New opens the listener, so that a port in use is found before the store is touched. Close must follow, also after Run.
func New(opts *config.Options, version string, log *slog.Logger) (*App, error) {
	for _, w := range opts.Warnings {
		log.Warn(w)
	}
	encryption, err := tlsConfig(opts.TLSCert, opts.TLSKey, log)
	if err != nil {
		return nil, fmt.Errorf("--tls-cert %s, --tls-key %s: %w", opts.TLSCert, opts.TLSKey, err)
	}
	listener, err := listen(opts)
	if err != nil {
		return nil, fmt.Errorf("--bind %s, --port %d: cannot listen: %w; allowed: an address of this machine with a free port", opts.Bind, opts.Port, err)
	}
	accepted := []string{opts.Secret.Reveal()}
	if opts.PreviousSecret.IsSet() {
		accepted = append(accepted, opts.PreviousSecret.Reveal())
	}
	counts := metrics.New(version)
	ops := service.New(service.Config{Secrets: accepted, Observer: counts})
	api := httpapi.New(ops, httpapi.Config{
		Version: version, MaxBody: opts.MaxBody, BodyTimeout: opts.HeaderTimeout, Metrics: counts, Logger: log,
	})
	server := httpapi.NewServer(api, httpapi.ServerConfig{
		HeaderTimeout: opts.HeaderTimeout, BodyTimeout: opts.HeaderTimeout, IdleTimeout: opts.IdleTimeout, TLS: encryption, Logger: log,
	})
	return &App{
		opts:     opts,
		log:      log,
		service:  ops,
		metrics:  counts,
		http:     server,
		silent:   httpapi.NewSilent(server),
		listener: httpapi.Limit(listener, connectionLimit(opts.MaxConnections, log), log),
		ready:    make(chan struct{}),
	}, nil
}

func listen(opts *config.Options) (net.Listener, error) {
	network := "tcp"
	if opts.Bind.Is4() {
		network = "tcp4" // else 0.0.0.0 would listen on IPv6 too
	}
	// A client that vanished without a word is found in about a minute, and its place in the queue is free.
	cfg := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}}
	return cfg.Listen(context.Background(), network, opts.Address())
}

// Addr is the address that the server listens on.
func (a *App) Addr() net.Addr { return a.listener.Addr() }

// URL is where clients on this machine find the server.
func (a *App) URL() string {
	if a.http.TLSConfig != nil {
		return "https://" + a.Addr().String()
	}
	return "http://" + a.Addr().String()
}

// Ready is closed once the locks are loaded and requests are served.
func (a *App) Ready() <-chan struct{} { return a.ready }

// Close ends a Run at once, without waiting for requests, and frees the listener. It may be called more than once.
func (a *App) Close() error {
	var err error
	a.closing.Do(func() {
		err = errors.Join(ignoreClosed(a.http.Close()), ignoreClosed(a.listener.Close()))
	})
	return err
}

// Run serves until the context ends, which shuts the server down in order and returns nil, or until the store fails.
// While it loads the locks it answers that it is not ready.
func (a *App) Run(ctx context.Context) (err error) {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	served := make(chan error, 1)
	go func() { served <- a.serve() }()
	defer func() { err = errors.Join(err, a.Close()) }()

	st, err := openStore(a.opts.Store, a.log)
	if err != nil {
		return fmt.Errorf("--store %s: %w", a.opts.Store, err)
	}
	defer func() { err = errors.Join(err, st.Close()) }()

	eng, err := engine.Open(ctx, engine.Config{
		Store: st,
		Limits: lock.Limits{
			MaxLocks: a.opts.MaxLocks, MaxWaiters: a.opts.MaxWaiters, MaxRemembered: a.opts.MaxRemembered, MaxWait: a.opts.MaxWait,
		},
		Logger: a.log,
	})
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("--store %s: %w", a.opts.Store, err)
	}
	defer func() {
		// The engine repeats the failure of its store, if that is what ended it.
		if closed := a.closeEngine(eng); err == nil {
			err = closed
		}
	}()

	a.metrics.Watch(eng)
	a.service.Serve(eng)
	close(a.ready)
	a.log.Info("serving", "address", a.Addr().String(), "store", a.opts.Store.String())

	select {
	case <-ctx.Done():
		a.log.Info("shutting down", "timeout", a.opts.ShutdownTimeout)
		a.service.Drain()
		eng.Drain()
		a.shutdown(a.opts.ShutdownTimeout)
		return a.storeFailure(eng)
	case <-eng.Failed():
		a.shutdown(failureGrace)
		return a.storeFailure(eng)
	case err := <-served:
		return ignoreClosed(err)
	}
}

// serve accepts connections until the HTTP server is shut down.
func (a *App) serve() error {
	if a.http.TLSConfig != nil {
		return a.http.ServeTLS(a.listener, "", "")
	}
	return a.http.Serve(a.listener)
}

func (a *App) storeFailure(eng *engine.Engine) error {
	if err := eng.Err(); err != nil {
		a.log.Error("store failed", "store", a.opts.Store.String(), "error", err)
		return fmt.Errorf("store failed: %w", err)
	}
	return nil
}

// shutdown stops to accept connections and lets the requests in flight end.
func (a *App) shutdown(limit time.Duration) {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	defer time.AfterFunc(silentGrace, a.silent.Close).Stop()
	if err := a.http.Shutdown(ctx); err != nil {
		a.log.Warn("requests cut off", "after", limit, "error", err)
		_ = a.http.Close()
	}
}

// closeEngine flushes what has taken effect. It has a time limit of its own: the store may hang.
func (a *App) closeEngine(eng *engine.Engine) error {
	ctx, cancel := context.WithTimeout(context.Background(), max(a.opts.ShutdownTimeout, failureGrace))
	defer cancel()
	return eng.Close(ctx)
}

func openStore(s config.Store, log *slog.Logger) (store.Store, error) {
	if s.Dir == "" {
		return memory.New(), nil
	}
	return disk.Open(s.Dir, log)
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
