package httpapi_test

import (
	"context"
	"log/slog"
	"net/http"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/service"
)

func TestHealth(t *testing.T) {
	s := start(t, setup{loading: true})
	got := s.do("GET", "/healthz", "", "X-LOCKSERVER-SECRET", "")
	require.Equal(t, 200, got.status)
	require.Equal(t, map[string]any{"role": "leader", "status": "ok", "version": version}, got.body)
	require.Equal(t, 200, s.do("HEAD", "/healthz", "").status)

	got = s.do("GET", "/readyz", "", "X-LOCKSERVER-SECRET", "")
	require.Equal(t, 503, got.status)
	require.Equal(t, "loading", got.body["reason"])
	require.Equal(t, "1", got.header.Get("Retry-After"))
	got = s.acquire(`{"resource":"r","owner":"o"}`)
	require.Equal(t, 503, got.status)
	require.Equal(t, "store_unavailable", got.code())

	s.service.Serve(answering{lock.Answer{Code: lock.Locked, Detail: &lock.Detail{}}})
	require.Equal(t, 200, s.do("GET", "/readyz", "").status)
	require.Equal(t, "locked", s.acquire(`{"resource":"r","owner":"o"}`).code())

	s.service.Serve(failed{})
	got = s.do("GET", "/readyz", "")
	require.Equal(t, 503, got.status)
	require.Equal(t, "store_unavailable", got.code())
	require.Equal(t, "failed", got.body["reason"])
	require.Equal(t, 200, s.do("GET", "/healthz", "").status)

	s.service.Drain()
	got = s.do("GET", "/readyz", "")
	require.Equal(t, 503, got.status)
	require.Equal(t, "draining", got.code())
	require.Equal(t, "draining", got.body["reason"])
}

// answering is an engine that has one answer to everything.
type answering struct{ a lock.Answer }

func (e answering) Acquire(_ *lock.Request, to lock.Reply) lock.Ticket {
	to.Send(&e.a)
	return lock.Ticket{}
}

func (e answering) Release(_ *lock.Ref, to lock.Reply) { to.Send(&e.a) }

func (e answering) Renew(_ *lock.Ref, _ time.Duration, to lock.Reply) { to.Send(&e.a) }

func (e answering) Yield(_ string, _ int64, _ string, to lock.Reply) { to.Send(&e.a) }

func (e answering) ForceRelease(_ string, _ int64, _ string, to lock.Reply) { to.Send(&e.a) }

func (e answering) Show(_ string, to lock.Reply) { to.Send(&e.a) }

func (e answering) List(_ context.Context, _ lock.Query, to lock.Reply) { to.Send(&e.a) }
func (e answering) Leave(lock.Ticket)                                   {}
func (e answering) Failed() <-chan struct{}                             { return nil }

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
		s.do("GET", "/locks", ""), s.do("GET", "/lock?resource=r", ""), s.do("DELETE", "/lock?resource=r", ""), s.do("POST", "/yield", `{"resource":"r"}`),
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
	for reason, want := range map[lock.Reason]string{lock.Unknown: "unknown", lock.Expired: "expired", lock.Evicted: "evicted", lock.OtherHolder: "other_holder"} {
		s := start(t, setup{engine: answering{lock.Answer{Code: lock.NotHeld, Reason: reason}}})
		require.Equal(t, want, s.release(`{"resource":"r","owner":"o"}`).body["reason"])
	}
}

// failing is an engine with a bug.
type failing struct{ answering }

func (failing) Show(string, lock.Reply) { panic("out of gum") }

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

var _ service.Engine = answering{}

func TestAFullStore(t *testing.T) {
	s := start(t, setup{engine: answering{lock.Answer{Code: lock.StorageFull}}})
	for _, path := range []string{"/acquire", "/renew"} {
		got := s.do("POST", path, `{"resource":"r","owner":"o"}`)
		require.Equal(t, http.StatusInsufficientStorage, got.status)
		require.Equal(t, "storage_full", got.code())
		require.Equal(t, "1", got.header.Get("Retry-After"))
	}
}
