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
	"sync/atomic"
	"time"

	"github.com/lockserver/lockserver/server/internal/config"
	"github.com/lockserver/lockserver/server/internal/events"
	"github.com/lockserver/lockserver/server/internal/forward"
	"github.com/lockserver/lockserver/server/internal/httpapi"
	"github.com/lockserver/lockserver/server/internal/journal"
	"github.com/lockserver/lockserver/server/internal/metrics"
	"github.com/lockserver/lockserver/server/internal/service"
	"github.com/lockserver/lockserver/server/internal/session"
	"github.com/lockserver/lockserver/server/internal/stats"
	"github.com/lockserver/lockserver/server/internal/store"
	"github.com/lockserver/lockserver/server/internal/store/etcd"
	"github.com/lockserver/lockserver/server/internal/ui"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// App is a server. [New] opens its listener, and [App.Run] serves.
type App struct {
	opts     *config.Options
	log      *slog.Logger
	open     func(context.Context) (store.Store, error) // waits for the right to write the store
	tls      *encryption                                // nil for none
	service  *service.Service
	metrics  *metrics.Metrics
	sessions *session.Server
	events   *events.Hub
	stats    *stats.Recorder
	journal  *journal.Journal // nil without a history file
	http     *http.Server
	silent   *httpapi.Silent
	listener net.Listener
	cluster  *etcd.Cluster                 // nil for a server without one
	forward  *forward.Forwarder            // the same
	drains   []func(context.Context) error // one for each transport: it lets requests in flight end
	ready    func()                        // given to Run
	begun    sync.Once                     // the first term, of this server or of the leader that it stands by for
	terms    atomic.Int64
	reading  sync.Mutex // while secrets are read from files
	refused  string     // why they could not be used
	closing  sync.Once
}

// silentGrace is how long a connection without a request has for its first one when the server shuts down.
const silentGrace = 200 * time.Millisecond

// New opens the listener, so that a port in use is found before the store is touched. Close must follow, even after Run.
func New(opts *config.Options, version string, log *slog.Logger) (*App, error) {
	for _, w := range opts.Warnings {
		log.Warn(w)
	}
	encryption, err := newEncryption(opts, log)
	if err != nil {
		return nil, err
	}
	listener, err := listen(opts)
	if err != nil {
		return nil, fmt.Errorf("--bind %s, --port %d: cannot listen: %w; allowed: an address of this machine with a free port", opts.Bind, opts.Port, err)
	}
	counts := metrics.New(version)
	core := service.Config{Secrets: accepted(opts), MaxWrongSecrets: opts.MaxWrongSecrets, Observer: counts, Logger: log}
	watch := events.Config{MaxReaders: opts.MaxEventReaders, History: opts.History, Logger: log}
	var past []wire.Event
	var file *journal.Journal
	if opts.HistoryFile != "" {
		if file, past, err = openJournal(opts, log); err != nil {
			return nil, errors.Join(err, listener.Close())
		}
		core.Auditor, watch.Journal = file, file
		counts.Journal(file.Lost)
	}
	var forwarder *forward.Forwarder
	var reports *forward.Reports
	if opts.Store.Kind == "etcd" {
		forwarder, reports = forward.New(encryption.own(), log), &forward.Reports{}
	}
	ops := service.New(core)
	sessions := session.NewServer(ops, session.Config{
		MaxOperations: opts.MaxSessionOperations, MaxUnsent: opts.MaxSessionUnsent, WriteTimeout: opts.SessionTimeout, Reports: reports, Logger: log,
	})
	counts.Sessions(sessions.Sessions)
	hub := events.NewHub(watch)
	hub.Recall(past)
	counts.Events(hub)
	recorder := stats.New(stats.Config{Store: opts.Store.Kind, Sessions: sessions.Sessions})
	cfg := httpapi.Config{
		Version: version, MaxBody: opts.MaxBody, BodyTimeout: opts.HeaderTimeout, Metrics: counts, Sessions: sessions, Events: hub, Stats: recorder,
		Logger: log,
	}
	if forwarder != nil {
		cfg.Forwarder, cfg.Reports = forwarder, reports
	}
	if opts.UI {
		cfg.UI = ui.New()
	}
	api := httpapi.New(ops, cfg)
	server := httpapi.NewServer(api, httpapi.ServerConfig{
		HeaderTimeout: opts.HeaderTimeout, BodyTimeout: opts.HeaderTimeout, IdleTimeout: opts.IdleTimeout, TLS: encryption.config(), Logger: log,
	})
	a := &App{
		opts:     opts,
		log:      log,
		open:     func(context.Context) (store.Store, error) { return openStore(opts, log) },
		tls:      encryption,
		service:  ops,
		sessions: sessions,
		events:   hub,
		stats:    recorder,
		journal:  file,
		forward:  forwarder,
		metrics:  counts,
		http:     server,
		silent:   httpapi.NewSilent(server),
		listener: httpapi.Limit(listener, connectionLimit(opts.MaxConnections, log), log),
	}
	if encryption != nil {
		handshakes := httpapi.NewHandshakes(a.listener, httpapi.HandshakeConfig{
			TLS: server.TLSConfig, Most: opts.MaxHandshakes, Timeout: opts.HeaderTimeout, Logger: log,
		})
		counts.Handshakes(handshakes)
		a.listener = handshakes
	}
	a.drains = append(a.drains, a.drainHTTP, sessions.Shutdown)
	if forwarder != nil {
		a.drains = append(a.drains, forwarder.Shutdown)
		if err := a.join(); err != nil {
			return nil, errors.Join(fmt.Errorf("--store %s: %w", opts.Store, err), a.Close())
		}
	}
	return a, nil
}

// openJournal opens the history file, and returns what it has for the history.
func openJournal(opts *config.Options, log *slog.Logger) (*journal.Journal, []wire.Event, error) {
	j, err := journal.Open(journal.Config{Path: opts.HistoryFile, Size: int64(opts.HistoryFileSize), Files: opts.HistoryFiles, Logger: log})
	if err != nil {
		return nil, nil, fmt.Errorf("--history-file %s: %w; allowed: a file that can be written", opts.HistoryFile, err)
	}
	past, err := j.Events(opts.History)
	if err != nil {
		return nil, nil, errors.Join(fmt.Errorf("--history-file %s: %w; allowed: files that can be read", opts.HistoryFile, err), j.Close())
	}
	return j, past, nil
}

func listen(opts *config.Options) (net.Listener, error) {
	network := "tcp"
	if opts.Bind.Is4() {
		network = "tcp4" // else 0.0.0.0 would listen on IPv6 too
	}
	// A client that vanished silently is noticed in about a minute, and its place in the queue becomes free.
	cfg := net.ListenConfig{KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 30 * time.Second, Interval: 10 * time.Second, Count: 3}}
	return cfg.Listen(context.Background(), network, opts.Address())
}

// Addr returns the address that the server listens on.
func (a *App) Addr() net.Addr { return a.listener.Addr() }

// URL returns where clients on this machine find the server.
func (a *App) URL() string {
	if a.http.TLSConfig != nil {
		return "https://" + a.Addr().String()
	}
	return "http://" + a.Addr().String()
}

// Close ends Run at once, without waiting for requests, and closes the listener. It may be called more than once.
func (a *App) Close() error {
	var err error
	a.closing.Do(func() {
		a.sessions.Close()
		err = errors.Join(ignoreClosed(a.http.Close()), ignoreClosed(a.listener.Close()))
		if a.cluster != nil {
			err = errors.Join(err, a.cluster.Close())
		}
		if a.journal != nil {
			err = errors.Join(err, a.journal.Close())
		}
	})
	return err
}

// Run serves until ctx ends, which shuts the server down in order and returns nil, or until the store fails. It serves in terms, each
// with its own store and engine: one ends, and another follows, if another server takes over the store. Between terms, and while the
// locks are loaded, the server answers that it is not ready, or, in a cluster, passes requests on to the server that leads. Run calls
// ready when the first term begins, be it another server's.
func (a *App) Run(ctx context.Context, ready func()) (err error) {
	a.ready = ready
	serving, stop := context.WithCancelCause(ctx)
	go func() { stop(a.http.Serve(a.listener)) }()
	go a.watchSecrets(serving)
	defer func() { err = errors.Join(err, a.Close()) }()
	for err = store.ErrReplaced; errors.Is(err, store.ErrReplaced); {
		err = a.term(serving)
	}
	if err == nil && ctx.Err() == nil {
		return ignoreClosed(context.Cause(serving))
	}
	return err
}

// drainHTTP stops accepting connections and lets requests in flight end.
func (a *App) drainHTTP(ctx context.Context) error {
	defer time.AfterFunc(silentGrace, a.silent.Close).Stop()
	if err := a.http.Shutdown(ctx); err != nil {
		_ = a.http.Close()
		return err
	}
	return nil
}

func ignoreClosed(err error) error {
	if errors.Is(err, http.ErrServerClosed) || errors.Is(err, net.ErrClosed) {
		return nil
	}
	return err
}
