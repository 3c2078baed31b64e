package lockserver_test

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/settings"
)

// streams is a server whose streams of events the test writes; the first answers the first request, and so on, the last all others.
func streams(t *testing.T, bounds settings.Bounds, each ...func(w http.ResponseWriter, r *http.Request)) *lockserver.Client {
	var asked atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		each[min(int(asked.Add(1)), len(each))-1](w, r)
	}))
	t.Cleanup(server.Close)
	return newClient(t, lockserver.WithAddr(server.URL), withBounds(bounds))
}

// writes is a stream that ends behind a text.
func writes(text string) func(http.ResponseWriter, *http.Request) {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

const grantedEvent = "id: %d\nevent: granted\ndata: {\"event\":%[1]d,\"kind\":\"granted\",\"resource\":\"r\",\"owner\":\"o\",\"token\":7}\n\n"

// After a cut, or silence, it goes on behind what it has heard of last, be it an event or not.
func TestWatchResumes(t *testing.T) {
	var last []string
	resuming := func(next func(http.ResponseWriter, *http.Request)) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			last = append(last, r.Header.Get("Last-Event-ID"))
			next(w, r)
		}
	}
	bounds := quick
	bounds.Ping = 20 * time.Millisecond
	client := streams(t, bounds,
		resuming(writes(":\nid: 4\n\n"+fmt.Sprintf(grantedEvent, 5)+"id: 6\nevent: granted\ndata: {")),
		resuming(writes(":\r\nid: 8\r\n\r\n")),
		resuming(func(w http.ResponseWriter, r *http.Request) {
			_ = http.NewResponseController(w).Flush()
			<-r.Context().Done()
		}),
		resuming(writes("id: 11\nevent: gap\ndata: {\"kind\":\"gap\",\"missed\":3}\n\nevent: gap\ndata: {\"kind\":\"gap\",\"missed\":null}\n\n"+
			"event: draining\ndata: {\"kind\":\"draining\"}\n\n")),
		resuming(writes(fmt.Sprintf(grantedEvent, 12))),
	)
	var got []string
	for e, err := range client.Watch(within(t, soon), "") {
		require.NoError(t, err)
		got = append(got, fmt.Sprint(e.Kind, " ", e.Number, " ", e.Resource, " ", e.Token, " ", e.Missed))
		if e.Number == 12 {
			break
		}
	}
	require.Equal(t, []string{"granted 5 r 7 0", "gap 0  0 3", "gap 0  0 -1", "granted 12 r 7 0"}, got)
	require.Equal(t, []string{"", "5", "8", "8", "11"}, last)
}

// What no retry can mend is the end.
func TestWatchEnds(t *testing.T) {
	status := func(status int, body string) func(http.ResponseWriter, *http.Request) {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/problem+json")
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	for want, answers := range map[string]func(http.ResponseWriter, *http.Request){
		"lockserver: unauthorized: no":                             status(401, `{"code":"unauthorized","detail":"no"}`),
		"lockserver: not_found: no":                                status(404, `{"code":"not_found","detail":"no"}`),
		"answered 404 without a lockserver's code: is this the":    status(404, "<html>"),
		"answered 200 with no JSON object: is this the address of": status(200, "<html>"),
		"sent what is no event: no JSON object":                    writes("data: hello\n\n"),
	} {
		var errs []error
		for _, err := range streams(t, quick, answers).Watch(within(t, soon), "") {
			errs = append(errs, err)
		}
		require.Len(t, errs, 1)
		require.ErrorContains(t, errs[0], want)
	}
}

func TestWatchGivesUp(t *testing.T) {
	bounds := quick
	bounds.Silence = 100 * time.Millisecond
	addr, asked := refuser(t, 502, "", "")
	client := newClient(t, lockserver.WithAddr(addr), withBounds(bounds))
	for _, err := range client.Watch(t.Context(), "") {
		requireCode(t, err, lockserver.ErrConnectionFailed)
	}
	require.Greater(t, asked.Load(), int32(1))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, err := range client.Watch(ctx, "") {
		require.ErrorIs(t, err, context.Canceled)
	}
}

// The loop may close the client, which ends it.
func TestWatchIsClosed(t *testing.T) {
	client := streams(t, quick, writes(fmt.Sprintf(grantedEvent, 1)))
	var last error
	for _, err := range client.Watch(within(t, soon), "") {
		if last = err; err == nil {
			require.NoError(t, client.Close())
		}
	}
	requireCode(t, last, lockserver.ErrConnectionFailed)
	require.ErrorContains(t, last, "the client is closed")
}
