package session_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/engine"
	"github.com/lockserver/lockserver/server/internal/httpapi"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/service"
	"github.com/lockserver/lockserver/server/internal/session"
	"github.com/lockserver/lockserver/server/internal/store"
	"github.com/lockserver/lockserver/server/internal/store/memory"
	"github.com/lockserver/lockserver/server/internal/wire"
)

const (
	secret   = "correct-horse-battery"
	patience = 20 * time.Second
)

// server is a real one, with sockets.
type server struct {
	t        testing.TB
	engine   *engine.Engine
	service  *service.Service
	sessions *session.Server
	addr     string
}

func start(t testing.TB, cfg session.Config, st store.Store) *server {
	t.Helper()
	log := slog.New(slog.DiscardHandler)
	cfg.Logger = log
	if cfg.MaxOperations == 0 {
		cfg.MaxOperations = 16_384
	}
	if cfg.MaxUnsent == 0 {
		cfg.MaxUnsent = 1 << 20
	}
	if cfg.WriteTimeout == 0 {
		cfg.WriteTimeout = patience
	}
	if st == nil {
		st = memory.New()
	}
	bounds := lock.Bounds{MaxLocks: 200_000, MaxWaiters: 200_000, MaxRemembered: 200_000, MaxWait: time.Minute}
	e, err := engine.Open(context.Background(), engine.Config{Store: st, Bounds: bounds, Logger: log})
	require.NoError(t, err)
	s := &server{t: t, engine: e, service: service.New(service.Config{Secrets: []string{secret}})}
	s.service.Serve(e)
	s.sessions = session.NewServer(s.service, cfg)
	watched := make(chan struct{})
	losses := e.Subscribe(session.MaxLost, session.Lost...)
	go func() {
		defer close(watched)
		s.sessions.Watch(losses.Events, &losses.Dropped)
	}()
	api := httpapi.New(s.service, httpapi.Config{Version: "test", MaxBody: 64 << 10, BodyTimeout: time.Second, Sessions: s.sessions, Logger: log})
	web := httptest.NewServer(api)
	s.addr = web.Listener.Addr().String()
	t.Cleanup(func() {
		ended, cancel := context.WithCancel(context.Background())
		cancel()
		_ = s.sessions.Shutdown(ended)
		web.Close()
		require.NoError(t, e.Close(context.Background()))
		<-watched
		require.NoError(t, st.Close())
		require.Zero(t, s.sessions.Sessions())
	})
	return s
}

// do asks over HTTP.
func (s *server) do(method, path, body string) map[string]any {
	s.t.Helper()
	req, err := http.NewRequestWithContext(context.Background(), method, "http://"+s.addr+path, strings.NewReader(body))
	require.NoError(s.t, err)
	req.Header.Set("X-LOCKSERVER-SECRET", secret)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	defer resp.Body.Close()
	var answer map[string]any
	require.NoError(s.t, json.NewDecoder(resp.Body).Decode(&answer))
	return answer
}

// client is one session.
type client struct {
	t    testing.TB
	conn net.Conn
	come []map[string]any // read, but not asked for yet
}

func (s *server) dial() *client {
	s.t.Helper()
	d := ws.Dialer{
		Protocols: []string{wire.SessionSubprotocol},
		Header:    ws.HandshakeHeaderHTTP{"X-LOCKSERVER-SECRET": []string{secret}},
		Timeout:   patience,
	}
	conn, early, _, err := d.Dial(context.Background(), "ws://"+s.addr+"/session")
	require.NoError(s.t, err)
	require.Nil(s.t, early)
	s.t.Cleanup(func() { _ = conn.Close() })
	require.NoError(s.t, conn.SetDeadline(time.Now().Add(patience)))
	return &client{t: s.t, conn: conn}
}

func (c *client) send(text string) {
	c.t.Helper()
	require.NoError(c.t, c.conn.SetDeadline(time.Now().Add(patience)))
	require.NoError(c.t, wsutil.WriteClientText(c.conn, []byte(text)))
}

// frame sends a frame as it is.
func (c *client) frame(f ws.Frame) {
	c.t.Helper()
	require.NoError(c.t, ws.WriteFrame(c.conn, f))
}

// message reads the objects of one message.
func (c *client) message() []map[string]any {
	c.t.Helper()
	require.NoError(c.t, c.conn.SetDeadline(time.Now().Add(patience)))
	text, op, err := wsutil.ReadServerData(c.conn)
	require.NoError(c.t, err)
	require.Equal(c.t, ws.OpText, op)
	var list []map[string]any
	if text[0] != '[' {
		text = []byte("[" + string(text) + "]")
	}
	require.NoError(c.t, json.Unmarshal(text, &list), string(text))
	return list
}

// next is the next object that comes.
func (c *client) next() map[string]any {
	c.t.Helper()
	if len(c.come) == 0 {
		c.come = c.message()
	}
	first := c.come[0]
	c.come = c.come[1:]
	return first
}

// ask sends a request and waits for its answer, which is the next object.
func (c *client) ask(text string) map[string]any {
	c.t.Helper()
	c.send(text)
	return c.next()
}

// closed waits for the server's close frame.
func (c *client) closed() (ws.StatusCode, string) {
	c.t.Helper()
	for {
		_, _, err := wsutil.ReadServerData(c.conn)
		if err == nil {
			continue
		}
		var closed wsutil.ClosedError
		require.ErrorAs(c.t, err, &closed)
		return closed.Code, closed.Reason
	}
}

func acquire(seq int, resource, owner, id, more string) string {
	return fmt.Sprintf(`{"seq":%d,"op":"acquire","resource":%q,"owner":%q,"id":%q%s}`, seq, resource, owner, id, more)
}

func release(seq int, resource, owner, id string) string {
	return fmt.Sprintf(`{"seq":%d,"op":"release","resource":%q,"owner":%q,"id":%q}`, seq, resource, owner, id)
}

func (s *server) eventually(what string, is func() bool) {
	s.t.Helper()
	require.Eventually(s.t, is, patience, 2*time.Millisecond, what)
}
