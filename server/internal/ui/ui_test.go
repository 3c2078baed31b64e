package ui_test

import (
	"net/http"
	"net/http/httptest"
	"regexp"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/ui"
)

func get(t *testing.T, path string, header ...string) *http.Response {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, path, nil)
	if len(header) == 2 {
		r.Header.Set(header[0], header[1])
	}
	w := httptest.NewRecorder()
	ui.New().ServeHTTP(w, r)
	return w.Result()
}

// The page names only files that are there, has nothing inline, and says what a browser must know to keep others out.
func TestPage(t *testing.T) {
	resp := get(t, "/ui/")
	require.Equal(t, http.StatusOK, resp.StatusCode)
	require.Equal(t, "text/html; charset=utf-8", resp.Header.Get("Content-Type"))
	require.Equal(t, "nosniff", resp.Header.Get("X-Content-Type-Options"))
	require.Equal(t, "no-referrer", resp.Header.Get("Referrer-Policy"))
	policy := resp.Header.Get("Content-Security-Policy")
	require.Contains(t, policy, "default-src 'none'")
	require.Contains(t, policy, "frame-ancestors 'none'")
	require.NotContains(t, policy, "unsafe")
	b := make([]byte, 1<<16)
	n, _ := resp.Body.Read(b)
	page := string(b[:n])
	require.NotRegexp(t, `<style|style=|<script>|\bon[a-z]+="|https?://`, page)
	names := regexp.MustCompile(`(?:src|href)="([^"]+)"`).FindAllStringSubmatch(page, -1)
	require.NotEmpty(t, names)
	for _, name := range names {
		require.True(t, ui.New().Has("/ui/"+name[1]), name[1])
		require.NotEmpty(t, get(t, "/ui/"+name[1]).Header.Get("Content-Type"), name[1])
	}
}

// A link without the last slash leads to the page, wherever a proxy has put the server.
func TestRedirect(t *testing.T) {
	resp := get(t, "/ui")
	require.Equal(t, http.StatusPermanentRedirect, resp.StatusCode)
	require.Equal(t, "ui/", resp.Header.Get("Location"))
}

// A browser that has the files does not load them again.
func TestUnchanged(t *testing.T) {
	tag := get(t, "/ui/").Header.Get("Etag")
	require.NotEmpty(t, tag)
	require.Equal(t, http.StatusNotModified, get(t, "/ui/", "If-None-Match", tag).StatusCode)
	require.Equal(t, http.StatusOK, get(t, "/ui/", "If-None-Match", `"other"`).StatusCode)
}

func TestNothingElse(t *testing.T) {
	for _, path := range []string{"/", "/ui/index.html", "/ui/../locks", "/ui/dist/app.js", "/uix", "/ui/app.ts"} {
		require.False(t, ui.New().Has(path), path)
	}
}
