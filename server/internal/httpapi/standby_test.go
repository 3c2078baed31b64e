package httpapi_test

import (
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/forward"
)

// standby is a server of a cluster that does not lead.
func standby(t *testing.T) (*server, *forward.Forwarder) {
	t.Helper()
	f := forward.New(nil, slog.New(slog.DiscardHandler))
	return start(t, setup{loading: true, forwarder: f}), f
}

func TestNoLeader(t *testing.T) {
	s, f := standby(t)
	check := func() {
		for _, got := range append(everyOperation(s), s.do("GET", "/events", ""), s.do("GET", "/history?resource=r", ""), s.do("GET", "/stats", "")) {
			require.Equal(t, 503, got.status)
			require.Equal(t, "no_leader", got.code())
			require.Equal(t, "1", got.header.Get("Retry-After"))
		}
	}
	check()
	require.Equal(t, "no_leader", s.do("GET", "/readyz", "").code())
	require.Equal(t, "standby", s.do("GET", "/healthz", "").body["role"])

	f.Lead("http://" + deaf(t))
	require.Equal(t, 200, s.do("GET", "/readyz", "").status, "it is not known yet")
	check()

	f.Drain()
	require.Equal(t, "draining", s.do("GET", "/readyz", "").code())
	require.Equal(t, "draining", s.acquire(`{"resource":"r","owner":"o"}`).code())
}

// deaf is an address where nobody listens.
func deaf(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	require.NoError(t, l.Close())
	return l.Addr().String()
}

// A stand-by counts wrong secrets for the address that tries them: the leader sees right ones alone.
func TestStandByCountsWrongSecrets(t *testing.T) {
	leader := start(t, setup{wrongSecrets: 1})
	f := forward.New(nil, slog.New(slog.DiscardHandler))
	f.Lead("http://" + leader.addr)
	s := start(t, setup{loading: true, forwarder: f, wrongSecrets: 2})
	guess := func() string { return s.do("GET", "/locks", "", "X-LOCKSERVER-SECRET", "wrong").code() }
	require.Equal(t, 200, s.do("GET", "/locks", "").status)
	require.Equal(t, []string{"unauthorized", "unauthorized", "too_many_wrong_secrets"}, []string{guess(), guess(), guess()})
	require.Equal(t, 200, s.do("GET", "/locks", "").status)
	require.Equal(t, "unauthorized", leader.do("GET", "/locks", "", "X-LOCKSERVER-SECRET", "wrong").code(), "the first that the leader hears of")
}

// What is refused by its head or its body alone never gets to the leader.
func TestStandByRefusesByItself(t *testing.T) {
	s, _ := standby(t)
	require.Equal(t, "unauthorized", s.do("POST", "/acquire", `{}`, "X-LOCKSERVER-SECRET", "wrong").code())
	require.Equal(t, "too_large", s.acquire(string(make([]byte, 65<<10))).code())
	require.Equal(t, "not_found", s.do("GET", "/nowhere", "").code())
	require.Equal(t, "method_not_allowed", s.do("PUT", "/acquire", "").code())
}

func TestStandByPassesOn(t *testing.T) {
	leader := start(t, setup{})
	s, f := standby(t)
	f.Lead("http://" + leader.addr)
	granted := s.acquire(`{"resource":"r","owner":"o","expire":30}`)
	require.Equal(t, 200, granted.status)
	require.Equal(t, []string{"lockserver/" + version}, granted.header["Server"])
	refused := s.acquire(`{"resource":"r","owner":"p"}`)
	require.Equal(t, "locked", refused.code())
	require.Equal(t, "locked", leader.acquire(`{"resource":"r","owner":"p"}`).code())
	require.Equal(t, "r", s.do("GET", "/lock?resource=r", "").body["resource"])
	require.Equal(t, "no_leader", s.do("GET", "/locks", "", "Lockserver-Forwarded", "1").code(), "it was passed on already")
}

// A leader that was asked and gives no answer may have done what it was asked.
func TestLeaderWithoutAnAnswer(t *testing.T) {
	for name, test := range map[string]struct {
		leader func(w http.ResponseWriter, asked, over chan struct{})
		end    func(f *forward.Forwarder)
	}{
		"it hangs up": {func(http.ResponseWriter, chan struct{}, chan struct{}) { panic(http.ErrAbortHandler) }, func(*forward.Forwarder) {}},
		"another one leads": {func(_ http.ResponseWriter, asked, over chan struct{}) {
			close(asked)
			<-over
		}, func(f *forward.Forwarder) { f.Lead("http://127.0.0.1:1") }},
		"this server shuts down": {func(_ http.ResponseWriter, asked, over chan struct{}) {
			close(asked)
			<-over
		}, func(f *forward.Forwarder) { f.Drain() }},
	} {
		t.Run(name, func(t *testing.T) {
			asked, over := make(chan struct{}), make(chan struct{})
			leader := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				_, _ = io.Copy(io.Discard, r.Body)
				if r.Header.Get("Lockserver-Handed-On") != "" {
					w.WriteHeader(http.StatusServiceUnavailable) // it takes no report either
					return
				}
				if name == "it hangs up" {
					close(asked)
				}
				test.leader(w, asked, over)
			}))
			defer leader.Close()
			defer close(over)
			s, f := standby(t)
			f.Lead(leader.URL)
			got := make(chan answer, 1)
			go func() { got <- s.acquire(`{"resource":"r","owner":"o","wait":60}`) }()
			<-asked
			test.end(f)
			a := <-got
			require.Equal(t, 503, a.status)
			require.Equal(t, "store_unavailable", a.code())
			require.Contains(t, a.body["detail"], "unknown")
		})
	}
}
