// Package httpapi is the HTTP front end: it decodes requests strictly, gives them to the engine, and answers in JSON.
package httpapi

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// Engine is what the front end needs of the engine; see there for what each method promises.
type Engine interface {
	Acquire(req *lock.Request, to lock.Reply) lock.Ticket
	Release(ref *lock.Ref, to lock.Reply)
	Renew(ref *lock.Ref, expire time.Duration, to lock.Reply)
	ForceRelease(resource string, token int64, to lock.Reply)
	Show(resource string, to lock.Reply)
	List(ctx context.Context, q lock.Query, to lock.Reply)
	Leave(t lock.Ticket)
	Failed() <-chan struct{}
}

// Config is what the front end needs.
type Config struct {
	Version     string
	Secrets     []string // each is accepted
	MaxBody     int      // bytes
	BodyTimeout time.Duration
	Observer    Observer // nil for none
	Logger      *slog.Logger
}

// Observer counts requests, and shows what it has counted.
type Observer interface {
	Request(operation, outcome string, took time.Duration)
	http.Handler
}

// answerTimeout is how long a client may take to take an answer.
const answerTimeout = 10 * time.Second

// API is an http.Handler. It answers 503 until it is given an engine by [API.Serve].
type API struct {
	secrets     secrets
	maxBody     int
	bodyTimeout time.Duration
	log         *slog.Logger
	observer    Observer
	version     string
	headers     headers
	routes      map[string]route

	engine   atomic.Pointer[Engine]
	draining atomic.Bool

	sinks   sync.Pool // of *sink
	buffers sync.Pool // of *buffer
}

// New makes a front end without an engine.
func New(cfg Config) *API {
	a := &API{
		secrets:     newSecrets(cfg.Secrets),
		maxBody:     cfg.MaxBody,
		bodyTimeout: cfg.BodyTimeout,
		log:         cfg.Logger,
		observer:    cfg.Observer,
		version:     cfg.Version,
		headers:     newHeaders(cfg.Version),
	}
	a.sinks.New = func() any { return newSink() }
	a.buffers.New = func() any { return newBuffer() }
	a.routes = a.table()
	return a
}

// Serve gives the front end the engine: from now on it is ready.
func (a *API) Serve(e Engine) { a.engine.Store(&e) }

// Drain makes /readyz say that the server shuts down. What becomes of requests is the engine's affair.
func (a *API) Drain() { a.draining.Store(true) }

// handler answers one request and says how it went. A problem that it returns is answered for it.
type handler func(e Engine, w http.ResponseWriter, r *http.Request) (outcome string, p *problem)

// route is what a path can do.
type route struct {
	open    bool // needs no secret
	static  bool // needs no engine
	allow   string
	methods map[string]handler
}

func (a *API) table() map[string]route {
	post := func(h handler) route {
		return route{allow: "POST", methods: map[string]handler{http.MethodPost: h}}
	}
	get := func(h handler) route {
		return route{allow: "GET, HEAD", methods: map[string]handler{http.MethodGet: h, http.MethodHead: h}}
	}
	health := func(h handler) route {
		r := get(h)
		r.open, r.static = true, true
		return r
	}
	static := func(h handler) route {
		r := get(h)
		r.static = true
		return r
	}
	one := get(a.show)
	one.allow += ", DELETE"
	one.methods[http.MethodDelete] = a.forceRelease
	return map[string]route{
		"/acquire":  post(a.acquire),
		"/release":  post(a.release),
		"/renew":    post(a.renew),
		"/locks":    get(a.list),
		"/lock":     one,
		"/healthz":  health(a.healthz),
		"/readyz":   health(a.readyz),
		"/metrics":  static(a.metrics),
		openAPIPath: static(a.openAPI),
	}
}

// ServeHTTP checks the secret first, before anything else of the request counts.
func (a *API) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	w.Header()["Server"] = a.headers.server
	outcome := string(codeInternal)
	defer func() { a.finish(r, outcome, time.Since(began)) }()
	defer a.recover(w, r)
	handle, e, p := a.admit(r)
	if p != nil {
		p.unread = r.Body != http.NoBody
	} else {
		if r.Body == http.NoBody {
			a.wholeRead(w)
		}
		var done string
		if done, p = handle(e, w, r); p == nil {
			outcome = done
			return
		}
	}
	outcome = string(p.code)
	a.refuse(w, r, p)
}

// admit decides from its headers alone what a request may do.
func (a *API) admit(r *http.Request) (handler, Engine, *problem) {
	route, found := a.routes[r.URL.Path]
	if !route.open && !a.secrets.match(r.Header) {
		return nil, nil, &problem{code: codeUnauthorized, detail: "the secret is missing or wrong; send it as X-LOCKSERVER-SECRET, or as Authorization: Bearer"}
	}
	if !found {
		return nil, nil, &problem{code: codeNotFound, detail: "there is no " + shorten([]byte(r.URL.Path)) + " here"}
	}
	handle := route.methods[r.Method]
	if handle == nil {
		return nil, nil, &problem{code: codeMethodNotAllowed, detail: shorten([]byte(r.Method)) + " is not allowed here; allowed: " + route.allow, allow: route.allow}
	}
	if route.static {
		return handle, nil, nil
	}
	e := a.engine.Load()
	if e == nil {
		return nil, nil, loading()
	}
	return handle, *e, nil
}

// finish counts and logs a request.
func (a *API) finish(r *http.Request, outcome string, took time.Duration) {
	if a.observer != nil {
		a.observer.Request(operation(r), outcome, took)
	}
	if a.log.Enabled(r.Context(), slog.LevelDebug) {
		a.log.Debug("request", "method", r.Method, "path", r.URL.Path, "outcome", outcome, "took", took, "remote", r.RemoteAddr)
	}
}

// wholeRead lifts the time limit for the reading of a request: one that takes long must not be taken for one whose client went away.
// Where it fails there is no connection any more, and the answer will fail too.
func (a *API) wholeRead(w http.ResponseWriter) {
	if err := http.NewResponseController(w).SetReadDeadline(time.Time{}); err != nil {
		a.log.Debug("connection lost", "error", err)
	}
}

// recover turns a panic into an answer if none was begun; the server lives on.
func (a *API) recover(w http.ResponseWriter, r *http.Request) {
	v := recover()
	if v == nil {
		return
	}
	if v == http.ErrAbortHandler { //nolint:errorlint // a panic's value, compared as net/http does
		panic(v)
	}
	a.log.Error("request failed", "method", r.Method, "path", r.URL.Path, "panic", v, "stack", stack())
	a.refuse(w, r, &problem{code: codeInternal, detail: "the server has a bug; its log has more"})
}
