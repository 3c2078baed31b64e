package httpapi_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/httpapi"
	"github.com/lockserver/lockserver/server/internal/lock"
)

func seconds(t *testing.T, v any) float64 {
	t.Helper()
	n, ok := v.(json.Number)
	require.True(t, ok, "%v is no number", v)
	f, err := n.Float64()
	require.NoError(t, err)
	return f
}

func TestAcquireReleaseRenew(t *testing.T) {
	s := start(t, setup{})

	got := s.acquire(`{"resource":"r","owner":"o","id":"i","expire":30,"note":"why"}`)
	require.Equal(t, 200, got.status)
	token := got.body["token"]
	left := seconds(t, got.body["expires_in"])
	require.True(t, left > 29 && left <= 30, left)
	delete(got.body, "expires_in")
	delete(got.body, "waited")
	require.Equal(t, map[string]any{"resource": "r", "owner": "o", "id": "i", "token": token, "mode": "exclusive", "limit": nil}, got.body)

	require.Equal(t, token, s.acquire(`{"resource":"r","owner":"o","id":"i","expire":30}`).body["token"], "the same id has the same grant")

	got = s.acquire(`{"resource":"r","owner":"o","id":"i","expire":31}`)
	require.Equal(t, 400, got.status)
	require.Equal(t, "id", got.body["field"])

	got = s.acquire(`{"resource":"r","owner":"p"}`)
	require.Equal(t, 409, got.status)
	require.Equal(t, "locked", got.code())
	require.Equal(t, json.Number("1"), got.body["holders_total"])
	require.Equal(t, json.Number("0"), got.body["waiters"])
	holder := got.body["holders"].([]any)[0].(map[string]any)
	require.Equal(t, "o", holder["owner"])
	require.Equal(t, token, holder["token"])
	require.Len(t, holder, 3, "id and note are none of a rival's business")

	got = s.acquire(`{"resource":"r","owner":"p","limit":2}`)
	require.Equal(t, 409, got.status)
	require.Equal(t, "limit_mismatch", got.code())

	got = s.do("POST", "/renew", `{"resource":"r","owner":"o","id":"i","expire":60}`)
	require.Equal(t, 200, got.status)
	require.Greater(t, seconds(t, got.body["expires_in"]), 59.0)
	require.Equal(t, token, got.body["token"])

	got = s.release(fmt.Sprintf(`{"resource":"r","owner":"o","token":%v}`, token))
	require.Equal(t, 200, got.status)
	require.Equal(t, map[string]any{"resource": "r", "owner": "o", "token": token, "outcome": "released"}, got.body)

	got = s.do("POST", "/renew", `{"resource":"r","owner":"o","id":"i"}`)
	require.Equal(t, 409, got.status)
	require.Equal(t, "not_held", got.code())
	require.Contains(t, []any{"unknown", "expired", "evicted", "other_holder"}, got.body["reason"])

	require.Equal(t, "id_used", s.acquire(`{"resource":"r","owner":"o","id":"i","expire":30}`).code())
}

func TestSharedAndSemaphore(t *testing.T) {
	s := start(t, setup{})
	got := s.acquire(`{"resource":"r","owner":"o","mode":"shared"}`)
	require.Equal(t, 200, got.status)
	require.Equal(t, "shared", got.body["mode"])
	require.Nil(t, got.body["expires_in"])
	require.Equal(t, 200, s.acquire(`{"resource":"r","owner":"o","mode":"shared"}`).status)
	got = s.release(`{"resource":"r","owner":"o"}`)
	require.Equal(t, 400, got.status)
	require.Equal(t, "token_required", got.code())

	got = s.acquire(`{"resource":"s","owner":"o","limit":2}`)
	require.Equal(t, 200, got.status)
	require.Nil(t, got.body["mode"])
	require.Equal(t, json.Number("2"), got.body["limit"])
}

func TestQueueAndCancel(t *testing.T) {
	s := start(t, setup{})
	require.Equal(t, 200, s.acquire(`{"resource":"r","owner":"o"}`).status)

	got := s.acquire(`{"resource":"r","owner":"p","id":"i","wait":0.01}`)
	require.Equal(t, 202, got.status)
	require.Equal(t, map[string]any{"id": "i", "position": json.Number("1"), "place_kept": json.Number("10")}, got.body)

	got = s.acquire(`{"resource":"r","owner":"q","wait":0.01}`)
	require.Equal(t, 409, got.status)
	require.Equal(t, "locked", got.code())

	got = s.release(`{"resource":"r","owner":"p","id":"i"}`)
	require.Equal(t, 200, got.status)
	require.Equal(t, map[string]any{"resource": "r", "owner": "p", "token": nil, "outcome": "cancelled"}, got.body)

	got = s.release(`{"resource":"r","owner":"p","id":"never seen"}`)
	require.Equal(t, 409, got.status)
	require.Equal(t, "unknown", got.body["reason"])
	require.Equal(t, "id_used", s.acquire(`{"resource":"r","owner":"p","id":"never seen"}`).code())
}

func TestLooking(t *testing.T) {
	var log lockedBuffer
	s := start(t, setup{logger: slog.New(slog.NewTextHandler(&log, nil))})
	for i := range 5 {
		require.Equal(t, 200, s.acquire(fmt.Sprintf(`{"resource":"jobs/%d","owner":"o%d","note":"n"}`, i, i%2)).status)
	}
	require.Equal(t, 200, s.acquire(`{"resource":"über alles","owner":"x","expire":9}`).status)
	require.Equal(t, 202, s.acquire(`{"resource":"über alles","owner":"w","id":"i","wait":0.01}`).status)

	got := s.do("GET", "/locks?prefix=jobs/&owner=&limit=2&cursor=", "")
	require.Equal(t, 200, got.status)
	require.Len(t, got.body["locks"], 2)
	var all []any
	for pages := 0; got.body["next"] != nil; pages++ {
		require.Less(t, pages, 5)
		all = append(all, got.body["locks"].([]any)...)
		got = s.do("GET", "/locks?prefix=jobs%2F&limit=2&cursor="+got.body["next"].(string), "")
		require.Equal(t, 200, got.status)
	}
	require.Len(t, append(all, got.body["locks"].([]any)...), 5)
	require.Len(t, s.do("GET", "/locks?owner=o1", "").body["locks"], 2)
	require.Len(t, s.do("GET", "/locks", "").body["locks"], 6)

	got = s.do("GET", "/lock?resource=%C3%BCber+alles", "")
	require.Equal(t, 200, got.status)
	require.Len(t, got.body["queue"], 1)
	require.Equal(t, false, got.body["queue"].([]any)[0].(map[string]any)["present"])
	token := got.body["holders"].([]any)[0].(map[string]any)["token"]

	require.Equal(t, 404, s.do("DELETE", "/lock?resource=%C3%BCber+alles&token=1", "").status)
	got = s.do("DELETE", fmt.Sprintf("/lock?resource=%%C3%%BCber%%20alles&token=%v", token), "")
	require.Equal(t, 200, got.status)
	require.Equal(t, "x", got.body["evicted"].([]any)[0].(map[string]any)["owner"])
	require.Contains(t, log.String(), "lock evicted")
	require.Contains(t, log.String(), fmt.Sprint(token))

	got = s.do("GET", "/lock?resource=free", "")
	require.Equal(t, 404, got.status)
	require.Equal(t, "not_found", got.code())
	require.Equal(t, "not_held", s.release(`{"resource":"über alles","owner":"x"}`).code())
}

func TestQueriesAreStrict(t *testing.T) {
	s := start(t, setup{})
	for _, c := range []struct{ method, path, field string }{
		{"GET", "/locks?limits=3", "limits"},
		{"GET", "/locks?limit=3&limit=3", "limit"},
		{"GET", "/locks?limit=0", "limit"},
		{"GET", "/locks?limit=1001", "limit"},
		{"GET", "/locks?limit=3x", "limit"},
		{"GET", "/locks?limit=-3", "limit"},
		{"GET", "/locks?cursor=nonsense", "cursor"},
		{"GET", "/locks?prefix=%FF", "prefix"},
		{"GET", "/locks?prefix=%00", "prefix"},
		{"GET", "/locks?prefix=" + strings.Repeat("p", 513), "prefix"},
		{"GET", "/locks?owner=" + strings.Repeat("o", 257), "owner"},
		{"GET", "/locks?prefix=%G1", "query"},
		{"GET", "/locks?a;b", "query"},
		{"GET", "/lock", "resource"},
		{"GET", "/lock?resource=", "resource"},
		{"GET", "/lock?resource=a&resource=b", "resource"},
		{"GET", "/lock?resource=a&token=3", "token"},
		{"GET", "/lock?Resource=a", "Resource"},
		{"DELETE", "/lock?token=3", "resource"},
		{"DELETE", "/lock?resource=a&token=x", "token"},
		{"DELETE", "/lock?resource=a&token=0", "token"},
		{"POST", "/acquire?resource=a", "resource"},
		{"POST", "/release?x=", "x"},
		{"POST", "/renew?x", "x"},
	} {
		got := s.do(c.method, c.path, `{"resource":"r","owner":"o"}`)
		require.Equal(t, 400, got.status, c.path)
		require.Equal(t, "invalid_request", got.code(), c.path)
		require.Equal(t, c.field, got.body["field"], c.path)
		require.Contains(t, got.body["detail"], "allowed: ", c.path)
	}
}

func TestBadBodies(t *testing.T) {
	s := start(t, setup{})
	for body, field := range map[string]string{
		``: "body", `{"resource":"r","owner":"o"} x`: "body", `{"resource":"r","owner":"o","expires":30}`: "expires",
		`{"resource":"r","owner":"o","expire":NaN}`: "expire", `{"resource":"r","resource":"r"}`: "resource", `{"resource":"r"}`: "owner",
		"{\"resource\":\"\xff\"}": "resource", `{"resource":"r","owner":"o","limit":1,"mode":"shared"}`: "limit",
	} {
		got := s.acquire(body)
		require.Equal(t, 400, got.status, body)
		require.Equal(t, "invalid_request", got.code(), body)
		require.Equal(t, field, got.body["field"], body)
	}
	require.Equal(t, "wait", s.release(`{"resource":"r","owner":"o","wait":1}`).body["field"])
	require.Equal(t, "note", s.do("POST", "/renew", `{"resource":"r","owner":"o","note":""}`).body["field"])
	require.Equal(t, "not_held", s.release(`{"resource":"r","owner":"o"}`).code(), "nothing was locked by all that")
}

func TestBodyLimit(t *testing.T) {
	s := start(t, setup{})
	fits := `{"resource":"r","owner":"o"}`
	fits += strings.Repeat(" ", 64<<10-len(fits))
	require.Equal(t, 200, s.acquire(fits).status)
	got := s.acquire(fits + " ")
	require.Equal(t, 413, got.status)
	require.Equal(t, "too_large", got.code())
	require.Contains(t, got.body["detail"], "65536")

	got = s.acquire(strings.Repeat("x", 10<<20))
	require.Equal(t, 413, got.status)
}

func TestSecret(t *testing.T) {
	s := start(t, setup{})
	for name, header := range map[string][]string{
		"own header":      {"X-LOCKSERVER-SECRET", secret},
		"previous":        {"X-LOCKSERVER-SECRET", "the-one-before-it"},
		"bearer":          {"X-LOCKSERVER-SECRET", "", "Authorization", "Bearer " + secret},
		"bearer, small":   {"X-LOCKSERVER-SECRET", "", "Authorization", "bearer " + secret},
		"both":            {"X-LOCKSERVER-SECRET", secret, "Authorization", "Basic Og=="},
		"content ignored": {"Content-Type", "text/html"},
	} {
		require.Equal(t, 200, s.do("GET", "/locks", "", header...).status, name)
	}
	for name, header := range map[string][]string{
		"none":         {"X-LOCKSERVER-SECRET", ""},
		"wrong":        {"X-LOCKSERVER-SECRET", "correct-horse-batterx"},
		"longer":       {"X-LOCKSERVER-SECRET", secret + "x"},
		"shorter":      {"X-LOCKSERVER-SECRET", secret[:5]},
		"empty bearer": {"X-LOCKSERVER-SECRET", "", "Authorization", "Bearer "},
		"basic":        {"X-LOCKSERVER-SECRET", "", "Authorization", "Basic " + secret},
		"bare":         {"X-LOCKSERVER-SECRET", "", "Authorization", secret},
		"wrong, right": {"X-LOCKSERVER-SECRET", "wrong", "Authorization", "Bearer " + secret},
	} {
		for _, path := range []string{"/locks", "/acquire", "/nothing", "/"} {
			got := s.do("GET", path, "", header...)
			require.Equal(t, 401, got.status, name)
			require.Equal(t, "unauthorized", got.code())
			require.NotEmpty(t, got.header.Get("WWW-Authenticate"))
			require.NotContains(t, fmt.Sprint(got.body), secret)
		}
	}
}

func TestWrongMethodAndPath(t *testing.T) {
	s := start(t, setup{})
	for path, allow := range map[string]string{
		"/acquire": "POST", "/release": "POST", "/renew": "POST", "/locks": "GET, HEAD", "/lock": "GET, HEAD, DELETE", "/healthz": "GET, HEAD", "/readyz": "GET, HEAD",
	} {
		for _, method := range []string{"PUT", "PATCH", "OPTIONS", "GET", "HEAD", "POST", "DELETE"} {
			if strings.Contains(allow, method) {
				continue
			}
			got := s.do(method, path, "")
			require.Equal(t, 405, got.status, "%s %s", method, path)
			require.Equal(t, allow, got.header.Get("Allow"))
			if method != "HEAD" {
				require.Equal(t, "method_not_allowed", got.code())
			}
		}
	}
	for _, path := range []string{"/", "/Acquire", "/acquire/", "//acquire", "/acquire/x", "/../acquire", "/a%20b"} {
		got := s.do("POST", path, `{"resource":"r","owner":"o"}`)
		require.Equal(t, 404, got.status, path)
		require.Equal(t, "not_found", got.code())
	}
}

func TestHealth(t *testing.T) {
	s := start(t, setup{loading: true})
	got := s.do("GET", "/healthz", "", "X-LOCKSERVER-SECRET", "")
	require.Equal(t, 200, got.status)
	require.Equal(t, map[string]any{"status": "ok", "version": version}, got.body)
	require.Equal(t, 200, s.do("HEAD", "/healthz", "").status)

	got = s.do("GET", "/readyz", "", "X-LOCKSERVER-SECRET", "")
	require.Equal(t, 503, got.status)
	require.Equal(t, "loading", got.body["reason"])
	require.Equal(t, "1", got.header.Get("Retry-After"))
	got = s.acquire(`{"resource":"r","owner":"o"}`)
	require.Equal(t, 503, got.status)
	require.Equal(t, "store_unavailable", got.code())

	s.api.Serve(answering{lock.Answer{Code: lock.Locked, Detail: &lock.Detail{}}})
	require.Equal(t, 200, s.do("GET", "/readyz", "").status)
	require.Equal(t, "locked", s.acquire(`{"resource":"r","owner":"o"}`).code())

	s.api.Serve(failed{})
	got = s.do("GET", "/readyz", "")
	require.Equal(t, 503, got.status)
	require.Equal(t, "store_unavailable", got.code())
	require.Equal(t, "failed", got.body["reason"])
	require.Equal(t, 200, s.do("GET", "/healthz", "").status)

	s.api.Drain()
	got = s.do("GET", "/readyz", "")
	require.Equal(t, 503, got.status)
	require.Equal(t, "draining", got.code())
	require.Equal(t, "draining", got.body["reason"])
}

func TestLimitsOfTheEngine(t *testing.T) {
	s := start(t, setup{limits: lock.Limits{MaxLocks: 1, MaxWaiters: 1, MaxRemembered: 10, MaxWait: time.Minute}})
	require.Equal(t, 200, s.acquire(`{"resource":"r","owner":"o"}`).status)
	got := s.acquire(`{"resource":"s","owner":"o"}`)
	require.Equal(t, 429, got.status)
	require.Equal(t, "too_many_locks", got.code())
	require.NotEmpty(t, got.header.Get("Retry-After"))

	require.Equal(t, 202, s.acquire(`{"resource":"r","owner":"p","id":"i","wait":0.01}`).status)
	got = s.acquire(`{"resource":"r","owner":"q","wait":10}`)
	require.Equal(t, 429, got.status)
	require.Equal(t, "too_many_waiters", got.code())
	require.NotEmpty(t, got.header.Get("Retry-After"))
}

func TestDrainAnswersWaiters(t *testing.T) {
	s := start(t, setup{})
	require.Equal(t, 200, s.acquire(`{"resource":"r","owner":"o"}`).status)
	waiter := s.dial()
	waiter.send(acquireRequest(`{"resource":"r","owner":"p","wait":60}`))
	s.eventually("parked", func() bool { return s.waiting() == 1 })
	s.engine.Drain()
	got := waiter.answer()
	require.Equal(t, 503, got.status)
	require.Equal(t, "draining", got.code())
	require.Equal(t, "1", got.header.Get("Retry-After"))
	require.Equal(t, "draining", s.acquire(`{"resource":"x","owner":"o"}`).code())
	require.Equal(t, 200, s.release(`{"resource":"r","owner":"o"}`).status)
}

// answering is an engine that has one answer to everything.
type answering struct{ a lock.Answer }

func (e answering) Acquire(_ *lock.Request, to lock.Sink, n uint64) lock.Ticket {
	to.Answer(n, &e.a)
	return lock.Ticket{}
}

func (e answering) Release(_ *lock.Ref, to lock.Sink, n uint64) { to.Answer(n, &e.a) }

func (e answering) Renew(_ *lock.Ref, _ time.Duration, to lock.Sink, n uint64) { to.Answer(n, &e.a) }

func (e answering) ForceRelease(_ string, _ int64, to lock.Sink, n uint64) { to.Answer(n, &e.a) }

func (e answering) Show(_ string, to lock.Sink, n uint64) { to.Answer(n, &e.a) }

func (e answering) List(_ context.Context, _ lock.Query, to lock.Sink, n uint64) { to.Answer(n, &e.a) }
func (e answering) Leave(lock.Ticket)                                            {}
func (e answering) Failed() <-chan struct{}                                      { return nil }

// failed is an engine whose store has failed.
type failed struct{ answering }

func (failed) Failed() <-chan struct{} {
	closed := make(chan struct{})
	close(closed)
	return closed
}

func everyOperation(s *server) []answer {
	return []answer{
		s.acquire(`{"resource":"r","owner":"o"}`), s.release(`{"resource":"r","owner":"o"}`), s.do("POST", "/renew", `{"resource":"r","owner":"o"}`),
		s.do("GET", "/locks", ""), s.do("GET", "/lock?resource=r", ""), s.do("DELETE", "/lock?resource=r", ""),
	}
}

func TestStoreFailure(t *testing.T) {
	s := start(t, setup{engine: answering{lock.Answer{Code: lock.Unavailable}}})
	for _, got := range everyOperation(s) {
		require.Equal(t, 503, got.status)
		require.Equal(t, "store_unavailable", got.code())
		require.Equal(t, "1", got.header.Get("Retry-After"))
	}
}

func TestReasonsOfNotHeld(t *testing.T) {
	for reason, want := range map[lock.Reason]string{lock.Unknown: "unknown", lock.Expired: "expired", lock.EvictedBy: "evicted", lock.OtherHolder: "other_holder"} {
		s := start(t, setup{engine: answering{lock.Answer{Code: lock.NotHeld, Reason: reason}}})
		require.Equal(t, want, s.release(`{"resource":"r","owner":"o"}`).body["reason"])
	}
}

// failing is an engine with a bug.
type failing struct{ answering }

func (failing) Show(string, lock.Sink, uint64) { panic("out of gum") }

func TestPanicIsAnAnswerAndALogLine(t *testing.T) {
	var log lockedBuffer
	s := start(t, setup{engine: failing{}, logger: slog.New(slog.NewTextHandler(&log, nil))})
	got := s.do("GET", "/lock?resource=r", "")
	require.Equal(t, 500, got.status)
	require.Equal(t, "internal", got.code())
	require.NotContains(t, got.body["detail"], "gum")
	require.Contains(t, log.String(), "out of gum")
	require.Equal(t, 200, s.do("GET", "/healthz", "").status)
	require.Equal(t, "internal", s.acquire(`{"resource":"r","owner":"o"}`).code(), "an answer without a code")
}

func TestRequestsAreLoggedAtDebugLevelWithoutTheSecret(t *testing.T) {
	var log lockedBuffer
	s := start(t, setup{logger: slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))})
	require.Equal(t, 200, s.acquire(`{"resource":"r","owner":"o"}`).status)
	require.Equal(t, 401, s.do("GET", "/locks", "", "X-LOCKSERVER-SECRET", "nearly-"+secret).status)
	s.eventually("both logged", func() bool { return strings.Count(log.String(), "msg=request") == 2 })
	require.Contains(t, log.String(), "path=/acquire outcome=granted")
	require.Contains(t, log.String(), "path=/locks outcome=unauthorized")
	require.NotContains(t, log.String(), secret)
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

var _ httpapi.Engine = answering{}
