package netfault

import (
	"context"
	"net/http"
	"net/http/httptest"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestFaults holds each fault of the network to what a client and the server see of it, and Heal to its word.
func TestFaults(t *testing.T) {
	var served atomic.Int64
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served.Add(1) }))
	defer server.Close()
	l, err := New(func() string { return server.Listener.Addr().String() }, Options{Listen: "127.0.0.1", Reach: "127.0.0.1"})
	require.NoError(t, err)
	defer func() { require.NoError(t, l.Close()) }()
	get := func(limit time.Duration) (time.Duration, error) {
		ctx, cancel := context.WithTimeout(t.Context(), limit)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+l.Addr(), nil)
		require.NoError(t, err)
		begun := time.Now()
		res, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
		if err == nil {
			require.NoError(t, res.Body.Close())
		}
		return time.Since(begun), err
	}
	const patience = 10 * time.Second
	healthy := func() {
		t.Helper()
		l.Control("heal", 0)
		before := served.Load()
		_, err := get(patience)
		require.NoError(t, err)
		require.Equal(t, before+1, served.Load())
	}
	healthy()

	l.Control("cut", 0)
	_, err = get(patience)
	require.Error(t, err)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	require.EqualValues(t, 1, served.Load())
	healthy()

	l.Control("drop_answers", 0)
	_, err = get(patience)
	require.Error(t, err)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	require.EqualValues(t, 3, served.Load(), "the server handled it")
	healthy()

	l.Control("", 300*time.Millisecond)
	took, err := get(patience)
	require.NoError(t, err)
	require.GreaterOrEqual(t, took, 300*time.Millisecond)
	healthy()

	l.Control("blackhole", 0)
	_, err = get(300 * time.Millisecond)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.EqualValues(t, 6, served.Load(), "the server did not hear of it")
	require.Len(t, l.Requests(), 6)

	late := make(chan error, 1)
	go func() {
		_, err := get(patience)
		late <- err
	}()
	l.Control("heal", 0)
	require.NoError(t, <-late)
}
