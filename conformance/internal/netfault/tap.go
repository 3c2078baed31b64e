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
	"strings"
	"sync"
	"time"
)

// Request is one request that a driver sent, as the tap saw it.
type Request struct {
	At         time.Time
	Method     string
	Path       string
	Header     http.Header
	Body       map[string]any // nil where the body was no JSON object
	Connection int            // the same number for requests on one connection
	Status     int            // of the answer that was passed on, 0 if there was none
}

// Rule catches requests. Exactly one of its actions is set.
type Rule struct {
	Path  string         // "/acquire"; "" for every path
	Body  map[string]any // fields that the request's body must have, "" and nil as wildcards do not exist
	Skip  int            // so many requests that fit pass first
	Times int            // then so many are caught; < 0 for all

	Answer   *Answer        // is given in place of the server's
	Drop     bool           // the server handles the request; its answer is lost and the connection closed
	Lose     bool           // the connection is closed; the server never sees the request
	Hold     chan struct{}  // the server handles the request at once; the answer leaves when this is closed
	HoldBack chan struct{}  // the request reaches the server when this is closed, even if its sender has gone
	Delay    time.Duration  // the answer leaves so much later
	Merge    map[string]any // is merged into the server's answer

	mu    sync.Mutex
	seen  int
	fired int
}

// Answer is an answer made up by the suite.
type Answer struct {
	Status int
	Header map[string]string
	Body   []byte
}

// Fired says how many requests the rule has caught so far.
func (r *Rule) Fired() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.fired
}

func (r *Rule) catches(q *Request) bool {
	if r.Path != "" && r.Path != q.Path {
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
	transport *http.Transport
	ctx       context.Context // ends with the link
	end       context.CancelFunc

	mu    sync.Mutex
	seen  []*Request
	rules []*Rule
}

func newTap(upstream func() string, prefix string) *tap {
	t := &tap{upstream: upstream, prefix: prefix}
	t.ctx, t.end = context.WithCancel(context.Background())
	// A connection for each request: what a pool does with a dead one must not be taken for the driver's doing.
	t.transport = &http.Transport{DisableKeepAlives: true, DisableCompression: true}
	return t
}

// Intercept adds a rule for requests to come.
func (t *tap) Intercept(r *Rule) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.rules = append(t.rules, r)
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
	if rule == nil {
		rule = &Rule{}
	}
	if rule.Lose {
		panic(http.ErrAbortHandler)
	}
	if rule.Answer != nil {
		for k, v := range rule.Answer.Header {
			w.Header().Set(k, v)
		}
		t.answer(w, q, rule.Answer.Status, rule.Answer.Body)
		return
	}
	path := q.Path
	if t.prefix != "" {
		stripped, ok := strings.CutPrefix(path, t.prefix)
		if !ok {
			t.answer(w, q, http.StatusNotFound, []byte("nothing here\n"))
			return
		}
		path = stripped
	}
	ctx := r.Context()
	if rule.HoldBack != nil {
		ctx = t.ctx
		if !t.hold(ctx, rule.HoldBack) {
			panic(http.ErrAbortHandler)
		}
	}
	status, header, answer, err := t.forward(ctx, r, path, body)
	if err != nil || rule.Drop {
		panic(http.ErrAbortHandler)
	}
	if rule.Hold != nil && !t.hold(r.Context(), rule.Hold) {
		panic(http.ErrAbortHandler)
	}
	if rule.Delay > 0 {
		late := make(chan struct{})
		timer := time.AfterFunc(rule.Delay, func() { close(late) })
		defer timer.Stop()
		if !t.hold(r.Context(), late) {
			panic(http.ErrAbortHandler)
		}
	}
	if rule.Merge != nil {
		answer, err = merge(answer, rule.Merge)
		if err != nil {
			panic(http.ErrAbortHandler)
		}
		header.Del("Content-Length")
	}
	maps.Copy(w.Header(), header)
	t.answer(w, q, status, answer)
}

func (t *tap) hold(ctx context.Context, until <-chan struct{}) bool {
	select {
	case <-until:
		return true
	case <-ctx.Done():
		return false
	case <-t.ctx.Done():
		return false
	}
}

func (t *tap) note(r *http.Request, body []byte) (*Request, *Rule) {
	q := &Request{At: time.Now(), Method: r.Method, Path: r.URL.Path, Header: r.Header.Clone(), Connection: r.Context().Value(connKey{}).(*linkConn).serial}
	_ = json.Unmarshal(body, &q.Body) // stays nil where it is none
	t.mu.Lock()
	defer t.mu.Unlock()
	t.seen = append(t.seen, q)
	for _, rule := range t.rules {
		if rule.catches(q) {
			return q, rule
		}
	}
	return q, nil
}

func (t *tap) forward(ctx context.Context, r *http.Request, path string, body []byte) (int, http.Header, []byte, error) {
	out, err := http.NewRequestWithContext(ctx, r.Method, "http://"+t.upstream()+path, bytes.NewReader(body))
	if err != nil {
		return 0, nil, nil, err
	}
	out.URL.RawQuery = r.URL.RawQuery
	out.Header = r.Header.Clone()
	out.Header.Del("Connection")
	res, err := t.transport.RoundTrip(out)
	if err != nil {
		return 0, nil, nil, err
	}
	answer, err := io.ReadAll(res.Body)
	res.Header.Del("Connection")
	return res.StatusCode, res.Header, answer, errors.Join(err, res.Body.Close())
}

func (t *tap) answer(w http.ResponseWriter, q *Request, status int, body []byte) {
	t.mu.Lock()
	q.Status = status
	t.mu.Unlock()
	w.WriteHeader(status)
	_, _ = w.Write(body) // a driver that has gone is its own business
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
