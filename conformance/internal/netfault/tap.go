package netfault

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Request is one request that a driver sent, over HTTP or in a session, as the tap saw it.
type Request struct {
	At         time.Time
	Method     string
	Path       string
	Header     http.Header
	Body       map[string]any // nil where the body was no JSON object
	Connection int            // the same number for requests on one connection
	Status     int            // of the answer that was passed on, 0 if there was none

	session bool // it asked for a session, and that is what came of it, or could not come of it here
}

// Session reports whether the request became a session, or was refused because the link has none.
func (q *Request) Session() bool { return q.session }

// Intercept says what becomes of which requests.
type Intercept struct {
	Paths []string       // such as "/acquire"; none for every path but that of a session
	Body  map[string]any // fields that the request's body must have
	Skip  int            // so many requests that fit pass first
	Times int            // then so many are caught; < 0 for all
	Then  Then
}

// Then is one of its fields, or an answer that the suite makes up.
type Then struct {
	// Fault is drop_answer (the server handles the request; the connection is closed in place of its answer), lose (the connection is
	// closed; the server never sees the request), hold_answer (the server handles the request; the answer leaves when it is let go) or
	// hold_request (the request reaches the server when it is let go, even if its sender has gone).
	Fault   string
	Delay   float64        // the answer leaves so many seconds later
	Merge   map[string]any // is merged into the server's answer
	Status  string
	Headers map[string]string
	Body    string
	Latin1  bool // the characters of the body are its bytes
}

// Rule is an Intercept at work.
type Rule struct {
	Intercept
	LetGo func() // what it holds

	status int
	held   chan struct{}
	mu     sync.Mutex
	seen   int
	fired  int
}

// Fired says how many requests the rule has caught so far.
func (r *Rule) Fired() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fired
}

func (r *Rule) catches(q *Request) bool {
	if len(r.Paths) == 0 && strings.HasSuffix(q.Path, sessionPath) || len(r.Paths) > 0 && !slices.Contains(r.Paths, q.Path) {
		return false
	}
	for k, v := range r.Body {
		if q.Body[k] != v {
			return false
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.seen++
	if r.seen <= r.Skip || (r.Times >= 0 && r.fired >= r.Times) {
		return false
	}
	r.fired++
	return true
}

type tap struct {
	upstream  func() string
	prefix    string
	sessions  bool
	transport *http.Transport
	ctx       context.Context // ends with the link
	end       context.CancelFunc

	mu    sync.Mutex
	seen  []*Request
	rules []*Rule
	wrong error // what a case must not ask for
}

func newTap(upstream func() string, o Options) *tap {
	t := &tap{upstream: upstream, prefix: o.Prefix, sessions: !o.NoSessions}
	t.ctx, t.end = context.WithCancel(context.Background())
	// A connection for each request: what a pool does with a dead one must not be taken for the driver's doing.
	t.transport = &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	return t
}

// Intercept adds a rule for requests to come.
func (t *tap) Intercept(i Intercept) (*Rule, error) {
	r := &Rule{Intercept: i, held: make(chan struct{})}
	if i.Then.Status != "" {
		var err error
		if r.status, err = strconv.Atoi(i.Then.Status); err != nil {
			return nil, err
		}
	}
	for k, v := range i.Body {
		if n, ok := v.(int); ok {
			i.Body[k] = float64(n) // as in JSON
		}
	}
	r.LetGo = sync.OnceFunc(func() { close(r.held) })
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rules = append(t.rules, r)
	return r, nil
}

// Requests are the requests so far, in the order in which they came.
func (t *tap) Requests() []Request {
	t.mu.Lock()
	defer t.mu.Unlock()
	all := make([]Request, len(t.seen))
	for i, q := range t.seen {
		all[i] = *q
	}
	return all
}

// ServeHTTP passes a request on, unless a rule says otherwise. Leaving by ErrAbortHandler closes the connection without an answer.
func (t *tap) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(io.LimitReader(r.Body, 1<<20))
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	q, rule := t.note(r, body)
	then := rule.Then
	if then.Fault == "lose" {
		panic(http.ErrAbortHandler)
	}
	if then.Status != "" {
		for k, v := range then.Headers {
			w.Header().Set(k, v)
		}
		made := []byte(then.Body)
		if then.Latin1 {
			made = latin1(then.Body)
		}
		t.answer(w, q, rule.status, made)
		return
	}
	path, ok := strings.CutPrefix(q.Path, t.prefix)
	if !ok {
		t.answer(w, q, http.StatusNotFound, []byte("nothing here\n"))
		return
	}
	if wantsSession(r, path) {
		if !t.sessions {
			t.mu.Lock()
			q.session = true
			t.mu.Unlock()
			t.answer(w, q, http.StatusNotFound, []byte("nothing here\n"))
			return
		}
		t.session(w, r, q, then.Fault == "drop_answer")
		return
	}
	ctx := r.Context()
	if then.Fault == "hold_request" {
		ctx = t.ctx
		t.hold(ctx, rule.held)
	}
	if r.Header.Get("Accept") == "text/event-stream" && then.Fault == "" {
		t.stream(w, r, q, path)
		return
	}
	status, header, answer, err := t.forward(ctx, r, path, body)
	if err != nil || then.Fault == "drop_answer" {
		panic(http.ErrAbortHandler)
	}
	if then.Fault == "hold_answer" {
		t.hold(r.Context(), rule.held)
	}
	if then.Delay > 0 {
		late, cancel := context.WithTimeout(t.ctx, time.Duration(then.Delay*float64(time.Second)))
		defer cancel()
		t.hold(r.Context(), late.Done())
	}
	if then.Merge != nil {
		answer, err = merge(answer, then.Merge)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		header.Del("Content-Length")
	}
	maps.Copy(w.Header(), header)
	t.answer(w, q, status, answer)
}

// latin1 makes a byte of each character.
func latin1(s string) []byte {
	var b []byte
	for _, c := range s {
		b = append(b, byte(c))
	}
	return b
}

// hold waits, and leaves the handler if the request or the link ends before.
func (t *tap) hold(ctx context.Context, until <-chan struct{}) {
	select {
	case <-until:
		return
	case <-ctx.Done():
	case <-t.ctx.Done():
	}
	panic(http.ErrAbortHandler)
}

// note takes note of a request, and gives the rule that catches it, or one that does nothing.
func (t *tap) note(r *http.Request, body []byte) (*Request, *Rule) {
	q := &Request{At: time.Now(), Method: r.Method, Path: r.URL.Path, Header: r.Header.Clone(), Connection: r.Context().Value(connKey{}).(*linkConn).serial}
	_ = json.Unmarshal(body, &q.Body) // stays nil where it is none
	return t.take(q)
}

func (t *tap) take(q *Request) (*Request, *Rule) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen = append(t.seen, q)
	for _, rule := range t.rules {
		if rule.catches(q) {
			return q, rule
		}
	}
	return q, &Rule{}
}

// ask sends a request on.
func (t *tap) ask(ctx context.Context, r *http.Request, path string, body []byte) (*http.Response, error) {
	out, err := http.NewRequestWithContext(ctx, r.Method, "http://"+t.upstream()+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	out.URL.RawQuery = r.URL.RawQuery
	out.Header = r.Header.Clone()
	out.Header.Del("Connection")
	return t.transport.RoundTrip(out)
}

func (t *tap) forward(ctx context.Context, r *http.Request, path string, body []byte) (int, http.Header, []byte, error) {
	res, err := t.ask(ctx, r, path, body)
	if err != nil {
		return 0, nil, nil, err
	}
	answer, err := io.ReadAll(res.Body)
	res.Header.Del("Connection")
	return res.StatusCode, res.Header, answer, errors.Join(err, res.Body.Close())
}

func (t *tap) answer(w http.ResponseWriter, q *Request, status int, body []byte) {
	t.status(q, status)
	w.WriteHeader(status)
	_, _ = w.Write(body) // a driver that has gone is its own business
}

func (t *tap) status(q *Request, status int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	q.Status = status
}

// misused notes what a case must not ask for.
func (t *tap) misused(err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.wrong = errors.Join(t.wrong, err)
}

func merge(answer []byte, extra map[string]any) ([]byte, error) {
	var fields map[string]any
	d := json.NewDecoder(bytes.NewReader(answer))
	d.UseNumber()
	if err := d.Decode(&fields); err != nil {
		return nil, err
	}
	maps.Copy(fields, extra)
	return json.Marshal(fields)
}

type connKey struct{}

func withConn(ctx context.Context, c net.Conn) context.Context {
	if secure, ok := c.(*tls.Conn); ok {
		c = secure.NetConn()
	}
	return context.WithValue(ctx, connKey{}, c)
}
