package httpapi_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/engine"
	"github.com/lockserver/lockserver/server/internal/events"
	"github.com/lockserver/lockserver/server/internal/httpapi"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/metrics"
	"github.com/lockserver/lockserver/server/internal/service"
	"github.com/lockserver/lockserver/server/internal/session"
	"github.com/lockserver/lockserver/server/internal/stats"
	"github.com/lockserver/lockserver/server/internal/store/memory"
)

const (
	secret  = "correct-horse-battery"
	version = "1.2.3-test"
)

// server is the front end on a real engine and a real listener.
type server struct {
	t        *testing.T
	service  *service.Service
	sessions *session.Server
	events   *events.Hub
	engine   *engine.Engine
	addr     string
}

type setup struct {
	bounds         lock.Bounds
	maxConnections int
	headerTimeout  time.Duration
	logger         *slog.Logger
	engine         service.Engine // instead of a real one
	loading        bool           // no engine at all
	history        int
	forwarder      httpapi.Forwarder
	wrongSecrets   int // that are looked at, or 0
}

func start(t *testing.T, s setup) *server {
	t.Helper()
	if s.bounds == (lock.Bounds{}) {
		s.bounds = lock.Bounds{MaxLocks: 1000, MaxWaiters: 1000, MaxRemembered: 1000, MaxWait: time.Minute}
	}
	if s.maxConnections == 0 {
		s.maxConnections = 1000
	}
	if s.headerTimeout == 0 {
		s.headerTimeout = 10 * time.Second
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	counts := metrics.New(version)
	srv := &server{t: t, service: service.New(service.Config{
		Secrets: []string{secret, "the-one-before-it"}, MaxWrongSecrets: s.wrongSecrets, Observer: counts, Logger: s.logger,
	})}
	switch {
	case s.loading:
	case s.engine != nil:
		srv.service.Serve(s.engine)
	default:
		st := memory.New()
		eng, err := engine.Open(t.Context(), engine.Config{Store: st, Bounds: s.bounds, Logger: s.logger})
		require.NoError(t, err)
		t.Cleanup(func() {
			require.NoError(t, eng.Close(context.Background()))
			require.NoError(t, st.Close())
		})
		srv.engine = eng
		srv.service.Serve(eng)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	srv.addr = listener.Addr().String()
	srv.sessions = session.NewServer(srv.service, session.Config{MaxOperations: 10, MaxUnsent: 1 << 20, WriteTimeout: 10 * time.Second, Logger: s.logger})
	t.Cleanup(srv.sessions.Close)
	srv.events = events.NewHub(events.Config{MaxReaders: 2, History: s.history, Logger: s.logger})
	if srv.engine != nil {
		srv.events.Serve(srv.engine)
		t.Cleanup(srv.events.Withdraw)
	}
	recorder := stats.New(stats.Config{Store: "memory", Sessions: srv.sessions.Sessions})
	if srv.engine != nil {
		recorder.Serve(srv.engine)
		t.Cleanup(recorder.Withdraw)
	}
	api := httpapi.New(srv.service, httpapi.Config{
		Version: version, MaxBody: 64 << 10, BodyTimeout: s.headerTimeout, Metrics: counts, Sessions: srv.sessions, Events: srv.events,
		Stats: recorder, Forwarder: s.forwarder, Logger: s.logger,
	})
	web := httpapi.NewServer(api, httpapi.ServerConfig{HeaderTimeout: s.headerTimeout, BodyTimeout: s.headerTimeout, IdleTimeout: time.Minute, Logger: s.logger})
	served := make(chan error, 1)
	go func() { served <- web.Serve(httpapi.Limit(listener, s.maxConnections, s.logger)) }()
	t.Cleanup(func() {
		require.NoError(t, web.Close())
		require.ErrorIs(t, <-served, http.ErrServerClosed)
	})
	return srv
}

// answer is what came back, decoded.
type answer struct {
	status int
	closes bool // the connection, behind it
	header http.Header
	body   map[string]any
}

func (a answer) code() string {
	c, _ := a.body["code"].(string)
	return c
}

func (s *server) do(method, path, body string, header ...string) answer {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.addr+path, strings.NewReader(body))
	require.NoError(s.t, err)
	req.Header.Set("X-LOCKSERVER-SECRET", secret)
	for i := 0; i < len(header); i += 2 {
		req.Header.Del(header[i])
		if header[i+1] != "" {
			req.Header.Set(header[i], header[i+1])
		}
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	return s.read(resp)
}

// read checks what all answers have in common.
func (s *server) read(resp *http.Response) answer {
	s.t.Helper()
	defer resp.Body.Close()
	content, err := io.ReadAll(resp.Body)
	require.NoError(s.t, err)
	if resp.Request != nil {
		require.NoError(s.t, described().check(resp, content))
	}
	require.Equal(s.t, "lockserver/"+version, resp.Header.Get("Server"))
	require.GreaterOrEqual(s.t, resp.ContentLength, int64(0), "an answer without its length")
	a := answer{status: resp.StatusCode, closes: resp.Close, header: resp.Header}
	if resp.Request != nil && resp.Request.Method == http.MethodHead {
		require.Empty(s.t, content)
		return a
	}
	d := json.NewDecoder(strings.NewReader(string(content)))
	d.UseNumber()
	require.NoError(s.t, d.Decode(&a.body), string(content))
	want := "application/json"
	if resp.StatusCode >= 400 {
		want = "application/problem+json"
		require.Equal(s.t, json.Number(itoa(resp.StatusCode)), a.body["status"])
		require.NotEmpty(s.t, a.body["code"])
		require.NotEmpty(s.t, a.body["detail"])
		require.Equal(s.t, http.StatusText(resp.StatusCode), a.body["title"])
	}
	require.Equal(s.t, want, resp.Header.Get("Content-Type"))
	return a
}

func itoa(n int) string { b, _ := json.Marshal(n); return string(b) }

func (s *server) acquire(body string) answer { s.t.Helper(); return s.do("POST", "/acquire", body) }
func (s *server) release(body string) answer { s.t.Helper(); return s.do("POST", "/release", body) }

// raw is one connection, to speak HTTP by hand.
type raw struct {
	net.Conn
	s      *server
	reader *bufio.Reader
}

func (s *server) dial() *raw {
	s.t.Helper()
	c, err := net.Dial("tcp", s.addr)
	require.NoError(s.t, err)
	s.t.Cleanup(func() { _ = c.Close() })
	require.NoError(s.t, c.SetDeadline(time.Now().Add(20*time.Second)))
	return &raw{Conn: c, s: s, reader: bufio.NewReader(c)}
}

func (r *raw) send(text string) {
	r.s.t.Helper()
	_, err := io.WriteString(r, text)
	require.NoError(r.s.t, err)
}

func (r *raw) answer() answer {
	r.s.t.Helper()
	resp, err := http.ReadResponse(r.reader, nil)
	require.NoError(r.s.t, err)
	return r.s.read(resp)
}

// ended waits for the server to close the connection.
func (r *raw) ended() {
	r.s.t.Helper()
	rest, err := r.reader.Peek(1)
	require.Error(r.s.t, err, "%q", rest)
	if late, ok := errors.AsType[net.Error](err); ok {
		require.False(r.s.t, late.Timeout(), "the connection is still open")
	}
}

// acquireRequest is an acquire as it goes over the wire.
func acquireRequest(body string) string {
	return "POST /acquire HTTP/1.1\r\nHost: x\r\nX-LOCKSERVER-SECRET: " + secret + "\r\nContent-Length: " + itoa(len(body)) + "\r\n\r\n" + body
}

// eventually waits for something that another connection brings about.
func (s *server) eventually(what string, is func() bool) {
	s.t.Helper()
	require.Eventually(s.t, is, 15*time.Second, 2*time.Millisecond, what)
}

// waiting tells how many places there are in queues.
func (s *server) waiting() int { return s.engine.Stats().Waiters }
