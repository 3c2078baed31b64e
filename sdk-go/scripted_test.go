package lockserver_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/settings"
)

// quick makes clients that do not wait long before they try again.
var quick = settings.Bounds{BackoffFirst: time.Millisecond, BackoffMost: 5 * time.Millisecond}

// script answers in place of a server or a proxy, for what a real one cannot be brought to do at a chosen moment.
type script struct {
	mu    sync.Mutex
	calls []scriptedCall
	steps map[string][]step
}

type scriptedCall struct {
	Path   string
	Body   map[string]any
	Secret string // over HTTP
	Fresh  bool   // the client wanted a connection for this request alone
}

// step gives one answer; the last of a path is given again and again.
type step func(ctx context.Context, body map[string]any) reply

// reply is an answer. Without a status it is lost on its way.
type reply struct {
	status int
	body   string
	header map[string]string
}

func (s *script) set(path string, steps []step) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.steps == nil {
		s.steps = map[string][]step{}
	}
	s.steps[path] = steps
}

func (s *script) answer(ctx context.Context, call scriptedCall) reply {
	s.mu.Lock()
	s.calls = append(s.calls, call)
	steps := s.steps[call.Path]
	var next step
	if len(steps) > 0 {
		next = steps[0]
	}
	if len(steps) > 1 {
		s.steps[call.Path] = steps[1:]
	}
	s.mu.Unlock()
	if next == nil {
		return reply{status: http.StatusNotFound}
	}
	return next(ctx, call.Body)
}

// seen returns the calls to a path so far.
func (s *script) seen(path string) []scriptedCall {
	s.mu.Lock()
	defer s.mu.Unlock()
	var calls []scriptedCall
	for _, c := range s.calls {
		if c.Path == path {
			calls = append(calls, c)
		}
	}
	return calls
}

// memory is a script without a network.
type memory struct {
	script
	begins bool // its transport can begin an attempt ahead
}

func newMemory() *memory { return &memory{} }

// on sets the answers of a path.
func (m *memory) on(path string, steps ...step) *memory {
	m.set(path, steps)
	return m
}

// whetherBegun runs a test over a transport that begins attempts ahead, as a session's does, and over one that cannot.
func whetherBegun(t *testing.T, test func(t *testing.T, server *memory)) {
	t.Helper()
	for name, begins := range map[string]bool{"begun": true, "sent": false} {
		t.Run(name, func(t *testing.T) { test(t, &memory{begins: begins}) })
	}
}

func (m *memory) client(t *testing.T, bounds settings.Bounds, opts ...lockserver.Option) *lockserver.Client {
	t.Helper()
	network := &lockserver.Memory{Begins: m.begins, Serve: func(ctx context.Context, path string, request map[string]any, again bool) (int, string, time.Duration) {
		r := m.answer(ctx, scriptedCall{Path: path, Body: request, Fresh: again})
		after, _ := strconv.Atoi(r.header["Retry-After"]) // 0 where there is none
		return r.status, r.body, time.Duration(after) * time.Second
	}}
	client, err := lockserver.NewOver(network, append([]lockserver.Option{lockserver.WithOwner("tester"), withBounds(bounds)}, opts...)...)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, client.Close()) })
	return client
}

// scripted is a script over HTTP.
type scripted struct {
	script
	*httptest.Server
}

func newScripted(t *testing.T) *scripted {
	s := &scripted{}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

// on sets the answers of a path.
func (s *scripted) on(path string, steps ...step) *scripted {
	s.set(path, steps)
	return s
}

func (s *scripted) serve(w http.ResponseWriter, r *http.Request) {
	call := scriptedCall{Path: r.URL.Path, Secret: r.Header.Get("X-LOCKSERVER-SECRET"), Fresh: r.Close}
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&call.Body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	answer := s.answer(r.Context(), call)
	if answer.status <= 0 { // the connection breaks off in the middle of an answer
		connection, buffer, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		fmt.Fprint(buffer, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"tok")
		_ = buffer.Flush()
		_ = connection.Close()
		return
	}
	w.Header().Set("Content-Type", "application/json")
	for name, value := range answer.header {
		w.Header().Set(name, value)
	}
	w.WriteHeader(answer.status)
	fmt.Fprint(w, answer.body)
}

func (s *scripted) client(t *testing.T, bounds settings.Bounds, opts ...lockserver.Option) *lockserver.Client {
	t.Helper()
	return newClient(t, append([]lockserver.Option{lockserver.WithAddr(s.URL), lockserver.WithOwner("tester"), withBounds(bounds)}, opts...)...)
}

func always(r reply) step { return func(context.Context, map[string]any) reply { return r } }

func answer(status int, body string) step { return always(reply{status: status, body: body}) }

func grant(token int, expiresIn string) step {
	return answer(http.StatusOK, fmt.Sprintf(`{"token":%d,"expires_in":%s,"waited":0,"mode":"exclusive","something_new":{"a":[1]}}`, token, expiresIn))
}

func problem(status int, code, more string) step {
	return answer(status, fmt.Sprintf(`{"type":"about:blank","title":"t","status":%d,"code":%q%s}`, status, code, more))
}

func freed() step { return answer(http.StatusOK, `{"outcome":"released"}`) }

// cut loses the answer.
func cut() step { return always(reply{}) }

// hang keeps the request until the client goes away.
func hang() step {
	return func(ctx context.Context, _ map[string]any) reply {
		<-ctx.Done()
		return reply{}
	}
}

func requireCode(t *testing.T, err error, code lockserver.Code) *lockserver.Error {
	t.Helper()
	require.ErrorIs(t, err, code)
	var failure *lockserver.Error
	require.ErrorAs(t, err, &failure)
	require.Equal(t, code, failure.Code)
	return failure
}
