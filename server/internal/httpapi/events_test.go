package httpapi_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// follow opens a stream of events.
func (s *server) follow(query string, header ...string) *http.Response {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://"+s.addr+"/events"+query, nil)
	require.NoError(s.t, err)
	req.Header.Set("Authorization", "Bearer "+secret)
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(s.t, err)
	return resp
}

func TestEventsAreStreamedFromHere(t *testing.T) {
	s := start(t, setup{})
	stream := s.follow("?prefix=a/")
	defer stream.Body.Close()
	require.Equal(t, "lockserver/"+version, stream.Header.Get("Server"))
	require.Equal(t, http.StatusOK, s.acquire(`{"resource":"b/1","owner":"o"}`).status)
	require.Equal(t, http.StatusOK, s.acquire(`{"resource":"a/1","owner":"o"}`).status)
	text := bufio.NewReader(stream.Body)
	for {
		line, err := text.ReadString('\n')
		require.NoError(t, err)
		if data, ok := strings.CutPrefix(line, "data: "); ok {
			require.Contains(t, data, `"kind":"granted"`)
			require.Contains(t, data, `"resource":"a/1"`)
			break
		}
	}

	second := s.follow("")
	defer second.Body.Close()
	require.Equal(t, "too_many_waiters", s.do("GET", "/events", "").code(), "two is as many as may")
	require.Equal(t, "kinds", s.do("GET", "/events?kinds=granted,lost", "").body["field"])
	require.Equal(t, "resource", s.do("GET", "/events?resource=a%00", "").body["field"])

	s.events.Drain()
	content, err := io.ReadAll(second.Body)
	require.NoError(t, err)
	require.True(t, strings.HasSuffix(string(content), "event: draining\ndata: {\"kind\":\"draining\"}\n\n"), string(content))
	require.NoError(t, described().check(second, content))
	require.Equal(t, "draining", s.do("GET", "/events", "").code())
}

func TestAskingForTheHeadOfTheEventsEnds(t *testing.T) {
	s := start(t, setup{})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodHead, "http://"+s.addr+"/events", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	require.Equal(t, "text/event-stream", resp.Header.Get("Content-Type"))
	s.eventually("no reader is left", func() bool { return s.events.Readers() == 0 })
}

func TestTheHistoryOfAResource(t *testing.T) {
	require.Equal(t, "not_found", start(t, setup{}).do("GET", "/history?resource=r", "").code())
	s := start(t, setup{history: 10})
	require.Equal(t, "resource", s.do("GET", "/history", "").body["field"])
	require.Empty(t, s.do("GET", "/history?resource=r", "").body["events"])
	for range 3 {
		require.Equal(t, http.StatusOK, s.acquire(`{"resource":"r","owner":"o","note":"why"}`).status)
		require.Equal(t, http.StatusOK, s.release(`{"resource":"r","owner":"o"}`).status)
	}
	require.Equal(t, http.StatusOK, s.acquire(`{"resource":"other","owner":"o"}`).status)
	s.eventually("all is kept", func() bool { return s.events.Kept() == 7 })
	kinds := func(query string) (all []any) {
		for _, e := range s.do("GET", "/history?resource=r"+query, "").body["events"].([]any) {
			all = append(all, e.(map[string]any)["kind"])
		}
		return all
	}
	require.Equal(t, []any{"granted", "released", "granted", "released", "granted", "released"}, kinds(""))
	require.Equal(t, []any{"released", "granted", "released"}, kinds("&limit=3"), "the newest")
}
