// Package httpapi is the HTTP front end of the service: it reads requests, and writes what the service answers.
package httpapi

import (
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/lockserver/lockserver/server/internal/forward"
	"github.com/lockserver/lockserver/server/internal/service"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// Config is what the front end needs.
type Config struct {
	Version     string
	MaxBody     int // bytes
	BodyTimeout time.Duration
	Metrics     http.Handler // nil for none
	Sessions    Upgrader     // nil for none
	Events      Events       // nil for none
	Stats       Stats
	UI          Files            // nil for none
	Forwarder   Forwarder        // nil for a server without a cluster
	Reports     *forward.Reports // the same
	Logger      *slog.Logger
}

// Upgrader turns the connection of a request into a session. If it returns a problem, it has written nothing.
type Upgrader interface {
	Upgrade(w http.ResponseWriter, r *http.Request) *wire.Problem
	// Part ends in order the session of the request that was passed on under that name, as the server between shuts down.
	Part(name string)
}

// Events tells what happens.
type Events interface {
	// Stream answers a request with a stream of events. If it returns a problem, it has written nothing.
	Stream(w http.ResponseWriter, r *http.Request, f *wire.Fields) *wire.Problem
	// History appends what has happened to one resource.
	History(b []byte, f *wire.Fields) ([]byte, *wire.Problem)
}

// Stats tells how the server does.
type Stats interface {
	Stats(b []byte, f *wire.Fields) ([]byte, *wire.Problem)
}

// Files are what a browser shows. They need no secret, and are no operations.
type Files interface {
	http.Handler
	// Has reports whether there is something at that path.
	Has(path string) bool
}

// Forwarder passes requests on to the server that leads, while this one does not.
type Forwarder interface {
	// Ready returns why requests cannot be passed on, or nil.
	Ready() *wire.Problem
	// Forward passes on a request with this body. If it returns a problem, it has written nothing. If gone, the client has gone away.
	Forward(w http.ResponseWriter, r *http.Request, body []byte) (p *wire.Problem, gone bool)
	// Origin returns the address that a request comes from which another server has passed on; "" for any other.
	Origin(r *http.Request) string
}

// answerTimeout bounds the time to write an answer.
const answerTimeout = 10 * time.Second

// API is an http.Handler.
type API struct {
	cfg     Config
	service *service.Service
	log     *slog.Logger
	headers headers
	routes  map[string]route
	buffers sync.Pool // of *buffer
	free    sync.Pool // of *exchange
}

// New makes a front end of the service.
func New(s *service.Service, cfg Config) *API {
	a := &API{cfg: cfg, service: s, log: cfg.Logger, headers: newHeaders(cfg.Version), routes: routes()}
	a.buffers.New = func() any { return newBuffer() }
	a.free.New = func() any { return new(exchange) }
	return a
}

// route lists the operations of a path.
type route struct {
	operations map[string]wire.Operation // by method
	first      wire.Operation
	allow      string // the methods
}

// routes derives the table of paths from the table of operations.
func routes() map[string]route {
	table := map[string]route{}
	for op := range wire.Other {
		if op.Path() == "" {
			continue // it is asked for in a session only
		}
		r, found := table[op.Path()]
		if !found {
			r = route{operations: map[string]wire.Operation{}, first: op}
		} else {
			r.allow += ", "
		}
		r.operations[op.Method()] = op
		r.allow += op.Method()
		if op.Method() == http.MethodGet {
			r.operations[http.MethodHead] = op
			r.allow += ", " + http.MethodHead
		}
		table[op.Path()] = r
	}
	return table
}

// ServeHTTP answers one request.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	w.Header()["Server"] = a.headers.server
	x := a.free.Get().(*exchange)
	*x = exchange{api: a, w: w, r: r, op: wire.Other, unread: r.Body != http.NoBody}
	outcome := string(wire.Internal)
	defer func() { a.finish(x, outcome, time.Since(began)) }()
	defer x.recover()
	if !x.unread {
		x.wholeRead()
	}
	outcome = x.serve()
}

// finish counts and logs the request, and frees the exchange for reuse.
func (a *API) finish(x *exchange, outcome string, took time.Duration) {
	a.service.Count(x.op, outcome, took)
	if a.log.Enabled(x.r.Context(), slog.LevelDebug) {
		a.log.Debug("request", "method", x.r.Method, "path", x.r.URL.Path, "outcome", outcome, "took", took, "remote", x.r.RemoteAddr)
	}
	*x = exchange{}
	a.free.Put(x)
}

// recover answers a request whose handler panicked, if no answer was begun. The server goes on.
func (x *exchange) recover() {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler { //nolint:errorlint // a panic's value, compared as net/http does
		panic(v)
	}
	x.api.log.Error("request failed", "method", x.r.Method, "path", x.r.URL.Path, "panic", v, "stack", string(debug.Stack()))
	x.refuse(&wire.Problem{Code: wire.Internal, Detail: "the server has a bug; its log has more"})
}
