package httpapi_test

import (
	"fmt"
	"strconv"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

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

func TestTooManyWrongSecrets(t *testing.T) {
	s := start(t, setup{wrongSecrets: 3})
	for range 3 {
		require.Equal(t, "unauthorized", s.do("GET", "/session", "", "X-LOCKSERVER-SECRET", "wrong").code())
	}
	for _, given := range []string{"wrong", secret} { // none was right before
		got := s.do("GET", "/session", "", "X-LOCKSERVER-SECRET", given)
		require.Equal(t, 429, got.status)
		require.Equal(t, "too_many_wrong_secrets", got.code())
		wait, err := strconv.Atoi(got.header.Get("Retry-After"))
		require.NoError(t, err)
		require.InDelta(t, 55, wait, 5, "until the minute is over")
		require.Empty(t, got.header.Get("WWW-Authenticate"))
	}
	for _, got := range append(everyOperation(s), s.do("GET", "/events", ""), s.do("GET", "/history?resource=r", ""), s.do("GET", "/stats", "")) {
		require.Equal(t, "too_many_wrong_secrets", got.code())
	}
	for _, path := range []string{"/metrics", "/openapi.yaml"} {
		require.Equal(t, "too_many_wrong_secrets", s.do("GET", path, "").code())
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
