package netfault

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
	"github.com/stretchr/testify/require"
)

// echo answers each request of a session with its own fields, and tells of nothing else.
func echo(w http.ResponseWriter, r *http.Request) {
	conn, _, _, err := ws.UpgradeHTTP(r, w)
	if err != nil {
		return
	}
	defer conn.Close()
	for {
		text, err := wsutil.ReadClientText(conn)
		if err != nil {
			return
		}
		var list []json.RawMessage
		for _, object := range objects(text) {
			answer, err := merge(object, map[string]any{"status": 200})
			if err != nil {
				return
			}
			list = append(list, answer)
		}
		if wsutil.WriteServerText(conn, joined(list)) != nil {
			return
		}
	}
}

func dial(t *testing.T, l *Link) net.Conn {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, _, _, err := ws.Dial(ctx, "ws://"+l.Addr()+"/session")
	require.NoError(t, err)
	t.Cleanup(func() { _ = conn.Close() })
	require.NoError(t, conn.SetDeadline(time.Now().Add(10*time.Second)))
	return conn
}

// TestFaultsOfSessions holds each fault that catches a request of a session to what the client sees of it.
func TestFaultsOfSessions(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(echo))
	defer server.Close()
	open := func(o Options) *Link {
		o.Listen, o.Reach = "127.0.0.1", "127.0.0.1"
		l, err := New(func() string { return server.Listener.Addr().String() }, o)
		require.NoError(t, err)
		return l
	}
	l := open(Options{})
	catch := func(path string, then Then) *Rule {
		r, err := l.Intercept(Intercept{Paths: []string{path}, Times: 1, Then: then})
		require.NoError(t, err)
		return r
	}
	conn := dial(t, l)
	say := func(text string) { require.NoError(t, wsutil.WriteClientText(conn, []byte(text))) }
	hear := func(want string) {
		t.Helper()
		text, err := wsutil.ReadServerText(conn)
		require.NoError(t, err)
		require.JSONEq(t, want, string(text))
	}

	catch("/renew", Then{Status: "503", Body: `{"code":"draining"}`})
	catch("/release", Then{Merge: map[string]any{"shard": 7}})
	say(`[{"seq":1,"op":"renew"},{"seq":2,"op":"release"},{"seq":3,"op":"show"}]`)
	hear(`{"seq":1,"status":503,"code":"draining"}`)
	hear(`[{"seq":2,"op":"release","status":200,"shard":7},{"seq":3,"op":"show","status":200}]`)

	held := catch("/acquire", Then{Fault: "hold_answer"})
	late := catch("/keepalive", Then{Fault: "hold_request"})
	say(`[{"seq":4,"op":"acquire"},{"seq":5,"op":"keepalive"},{"seq":6,"op":"show"}]`)
	hear(`{"seq":6,"op":"show","status":200}`)
	held.LetGo()
	hear(`{"seq":4,"op":"acquire","status":200}`)
	late.LetGo()
	hear(`{"seq":5,"op":"keepalive","status":200}`)

	catch("/acquire", Then{Fault: "drop_answer"})
	say(`{"seq":7,"op":"acquire"}`)
	_, err := wsutil.ReadServerText(conn)
	require.ErrorIs(t, err, io.EOF)

	paths, statuses := []string{}, []int{}
	for _, q := range l.Requests() {
		paths, statuses = append(paths, q.Path), append(statuses, q.Status)
		require.Equal(t, q.Path == "/session", q.Session())
	}
	require.Equal(t, []string{"/session", "/renew", "/release", "/lock", "/acquire", "/keepalive", "/lock", "/acquire"}, paths)
	require.Equal(t, []int{101, 503, 200, 200, 200, 200, 200, 0}, statuses)

	conn = dial(t, l)
	l.Control("drop_answers", 0)
	say(`{"seq":1,"op":"show"}`)
	_, err = wsutil.ReadServerText(conn)
	require.ErrorIs(t, err, io.EOF)
	l.Control("heal", 0)

	conn = dial(t, l)
	l.Control("cut", 0)
	_, err = wsutil.ReadServerText(conn)
	require.Error(t, err)
	l.Control("heal", 0)

	catch("/acquire", Then{Status: "200", Body: "<html>"})
	conn = dial(t, l)
	say(`{"seq":1,"op":"acquire"}`)
	_, err = wsutil.ReadServerText(conn)
	require.Error(t, err)
	require.ErrorContains(t, l.Close(), "the case is about HTTP", "what a session cannot carry is the case's mistake")

	none := open(Options{NoSessions: true})
	_, _, _, err = ws.Dial(t.Context(), "ws://"+none.Addr()+"/session")
	refused, ok := errors.AsType[ws.StatusError](err)
	require.True(t, ok, err)
	require.Equal(t, http.StatusNotFound, int(refused))
	require.NoError(t, none.Close())
}
