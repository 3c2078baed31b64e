package lockserver_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/lockservertest"
)

// quick makes clients that do not wait long before they try again.
var quick = lockservertest.Tuning{BackoffStart: time.Millisecond, BackoffCap: 5 * time.Millisecond}

// scripted answers in place of a server or a proxy, for what a real one cannot be brought to do at a chosen moment.
type scripted struct {
	*httptest.Server

	mu    sync.Mutex
	calls []scriptedCall
	steps map[string][]step
}

type scriptedCall struct {
	Path   string
	Body   map[string]any
	Secret string
	Close  bool // the client wanted this connection for one request
}

// step is one answer; the last of a path is given again and again.
type step func(w http.ResponseWriter, r *http.Request, body map[string]any)

func newScripted(t *testing.T) *scripted {
	s := &scripted{steps: map[string][]step{}}
	s.Server = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.Close)
	return s
}

// on sets the answers of a path.
func (s *scripted) on(path string, steps ...step) *scripted {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.steps[path] = steps
	return s
}

func (s *scripted) serve(w http.ResponseWriter, r *http.Request) {
	var body map[string]any
	if r.Method == http.MethodPost {
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
	}
	s.mu.Lock()
	s.calls = append(s.calls, scriptedCall{Path: r.URL.Path, Body: body, Secret: r.Header.Get("X-LOCKSERVER-SECRET"), Close: r.Close})
	steps := s.steps[r.URL.Path]
	var next step
	if len(steps) > 0 {
		next = steps[0]
	}
	if len(steps) > 1 {
		s.steps[r.URL.Path] = steps[1:]
	}
	s.mu.Unlock()
	if next == nil {
		http.NotFound(w, r)
		return
	}
	next(w, r, body)
}

// seen returns the calls to a path so far.
func (s *scripted) seen(path string) []scriptedCall {
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

func (s *scripted) client(t *testing.T, tuning lockservertest.Tuning, opts ...lockserver.Option) *lockserver.Client {
	t.Helper()
	return newClient(t, append([]lockserver.Option{
		lockserver.WithAddr(s.URL), lockserver.WithOwner("tester"), lockservertest.WithTuning(tuning),
	}, opts...)...)
}

func answer(status int, body string) step {
	return func(w http.ResponseWriter, _ *http.Request, _ map[string]any) {
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprint(w, body)
	}
}

func grant(token int, expiresIn string) step {
	return answer(http.StatusOK, fmt.Sprintf(`{"token":%d,"expires_in":%s,"waited":0,"mode":"exclusive","something_new":{"a":[1]}}`, token, expiresIn))
}

func problem(status int, code, more string) step {
	return answer(status, fmt.Sprintf(`{"type":"about:blank","title":"t","status":%d,"code":%q%s}`, status, code, more))
}

func freed() step { return answer(http.StatusOK, `{"outcome":"released"}`) }

// cut breaks the connection off in the middle of an answer.
func cut() step {
	return func(w http.ResponseWriter, _ *http.Request, _ map[string]any) {
		connection, buffer, err := w.(http.Hijacker).Hijack()
		if err != nil {
			panic(err)
		}
		fmt.Fprint(buffer, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"tok")
		_ = buffer.Flush()
		_ = connection.Close()
	}
}

// hang keeps the request until the client goes away.
func hang() step {
	return func(_ http.ResponseWriter, r *http.Request, _ map[string]any) { <-r.Context().Done() }
}

func requireCode(t *testing.T, err error, code lockserver.Code) *lockserver.Error {
	t.Helper()
	require.ErrorIs(t, err, code)
	var failure *lockserver.Error
	require.ErrorAs(t, err, &failure)
	require.Equal(t, code, failure.Code)
	return failure
}
