package httpapi_test

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

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
	require.Less(t, seconds(t, holder["held_for"]), 10.0)
	require.Greater(t, seconds(t, holder["expires_in"]), 20.0)
	require.NotContains(t, holder, "id", "it is none of a rival's business")

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
	token := s.acquire(`{"resource":"r","owner":"o"}`).body["token"]

	got := s.acquire(`{"resource":"r","owner":"p","id":"i","wait":0.01}`)
	require.Equal(t, 202, got.status)
	holder := got.body["holders"].([]any)[0].(map[string]any)
	require.GreaterOrEqual(t, seconds(t, holder["held_for"]), 0.01)
	delete(holder, "held_for")
	require.Equal(t, map[string]any{
		"id": "i", "position": json.Number("1"), "place_kept": json.Number("10"),
		"holders":       []any{map[string]any{"owner": "o", "token": token, "note": nil, "expires_in": nil, "renewed_ago": nil}},
		"holders_total": json.Number("1"), "waiters": json.Number("1"), "ahead": []any{}, "estimate": nil,
	}, got.body)

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
	s.eventually("logged", func() bool {
		return strings.Contains(log.String(), fmt.Sprintf(`msg="lock evicted" resource="über alles" owner=x token=%v`, token))
	})

	got = s.do("GET", "/lock?resource=free", "")
	require.Equal(t, 404, got.status)
	require.Equal(t, "not_found", got.code())
	require.Equal(t, "not_held", s.release(`{"resource":"über alles","owner":"x"}`).code())
}

func TestLimitsOfTheEngine(t *testing.T) {
	s := start(t, setup{bounds: lock.Bounds{MaxLocks: 1, MaxWaiters: 1, MaxRemembered: 10, MaxWait: time.Minute}})
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

func TestAskingAHolderToYield(t *testing.T) {
	s := start(t, setup{})
	yield := func(body string) answer { return s.do("POST", "/yield", body) }
	require.Equal(t, "not_found", yield(`{"resource":"r"}`).code())
	require.Equal(t, "by", yield(`{"resource":"r","by":""}`).body["field"])
	token := s.acquire(`{"resource":"r","owner":"o","expire":30}`).body["token"]
	require.Equal(t, "not_found", yield(`{"resource":"r","token":1}`).code())
	got := yield(`{"resource":"r","by":"boss"}`)
	require.Equal(t, 200, got.status)
	require.Equal(t, token, got.body["asked"].([]any)[0].(map[string]any)["token"])
	require.Equal(t, "boss", s.do("POST", "/renew", `{"resource":"r","owner":"o"}`).body["yield_to"])
}
