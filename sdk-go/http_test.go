package lockserver_test

import (
	"context"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// roundTripper stands between the client and the network.
type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// A RoundTripper of the program's own may do to its request what it likes, and its client's limits do not count.
func TestOwnHTTPClient(t *testing.T) {
	server := newScripted(t).on("/acquire", cut(), grant(7, "null")).on("/release", freed())
	own := &http.Client{Timeout: time.Nanosecond, Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		r.Header.Set("X-Trace", "1")
		r.URL.RawQuery = "traced"
		return http.DefaultTransport.RoundTrip(r)
	})}
	client := server.client(t, quick, lockserver.WithHTTPClient(own))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			if err := client.WithLock(within(t, soon), "r", func(context.Context) error { return nil }); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	require.Len(t, server.seen("/release"), 8)
	newClient(t, lockserver.WithHTTPClient(&http.Client{})) // without a Transport it changes nothing
}

// A time-out on the way to the server must not pass for the caller's deadline.
func TestTimeoutsOfTheNetworkAreNotTheCallers(t *testing.T) {
	bounds := quick
	bounds.Silence, bounds.Cleanup = 50*time.Millisecond, 50*time.Millisecond
	late := roundTripper(func(*http.Request) (*http.Response, error) {
		return nil, &net.OpError{Op: "read", Err: context.DeadlineExceeded}
	})
	_, err := newClient(t, withBounds(bounds), lockserver.WithHTTPClient(&http.Client{Transport: late})).
		Acquire(context.Background(), "r")
	requireCode(t, err, lockserver.ErrConnectionFailed)
	require.NotErrorIs(t, err, context.DeadlineExceeded)
	require.ErrorContains(t, err, "read")
}
