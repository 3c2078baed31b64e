package lockserver_test

import (
	"context"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/servertest"
)

// Closing the client ends calls that wait, and leaves nothing of them behind.
func TestCloseEndsWaitingCalls(t *testing.T) {
	other, name := newClient(t), servertest.UniqueName()
	_, err := other.Acquire(within(t, soon), name)
	require.NoError(t, err)
	client := newClient(t)
	const n = 20
	result := make(chan error, n)
	for range n {
		go func() { _, err := client.Acquire(context.Background(), name); result <- err }()
	}
	eventually(t, "the waiters", func() bool { return waiters(t, other, name) == n })
	require.NoError(t, client.Close())
	for range n {
		requireCode(t, <-result, lockserver.ErrConnectionFailed)
	}
	require.Zero(t, waiters(t, other, name))
	require.NoError(t, other.Release(within(t, soon), name))
}

// Closing the client ends scopes: their locks count as lost, as nobody renews them any more.
func TestCloseEndsWhatItRenews(t *testing.T) {
	server := newMemory().
		on("/acquire", grant(7, "30"), grant(8, "30"), grant(9, "null")).
		on("/release", freed())
	client := server.client(t, quick)
	inside, result := make(chan struct{}), make(chan error)
	go func() {
		result <- client.WithLock(within(t, soon), "a", func(ctx context.Context) error {
			close(inside)
			<-ctx.Done()
			return context.Cause(ctx)
		})
	}()
	<-inside
	leased, err := client.Acquire(within(t, soon), "b", lockserver.Expire(30*time.Second))
	require.NoError(t, err)
	plain, err := client.Acquire(within(t, soon), "c")
	require.NoError(t, err)
	require.NoError(t, client.Close())
	require.NoError(t, client.Close())
	require.ErrorIs(t, <-result, lockserver.ErrLockLost)
	require.NoError(t, leased.Err(), "it still has its lease")
	for _, lock := range []*lockserver.Lock{leased, plain} {
		released, err := lock.Release(within(t, soon))
		require.NoError(t, err)
		require.True(t, released, "a closed client can still release")
	}
	_, err = client.Acquire(within(t, soon), "r")
	requireCode(t, err, lockserver.ErrConnectionFailed)
}

// A scope may close the client that it comes from.
func TestCloseInsideAScope(t *testing.T) {
	client, name := newClient(t), servertest.UniqueName()
	err := client.WithLock(within(t, soon), name, func(ctx context.Context) error {
		require.NoError(t, client.Close())
		require.ErrorIs(t, context.Cause(ctx), lockserver.ErrLockLost)
		return nil
	})
	require.NoError(t, err, "the server says that it was held to the end")
	requireFree(t, newClient(t), name)
}

// whileClosing is a network that calls back in the middle of Client.Close: the client is closed then, and its calls have not ended yet.
type whileClosing struct {
	http.RoundTripper
	do   func()
	done atomic.Bool
}

func (c *whileClosing) CloseIdleConnections() {
	if !c.done.Swap(true) {
		c.do()
	}
}

// A grant that arrives while the client closes, after the locks that it has to end were counted, is given back: nobody would renew it.
func TestGrantThatArrivesWhileTheClientCloses(t *testing.T) {
	for name, opts := range map[string][]lockserver.AcquireOption{
		"held until released": nil,
		"renewed":             {lockserver.Expire(time.Minute), lockserver.Renewed()},
	} {
		t.Run(name, func(t *testing.T) {
			asked, closing, givenBack, returned := make(chan struct{}), make(chan struct{}), make(chan struct{}), make(chan struct{})
			server := newScripted(t).
				on("/acquire", func(ctx context.Context, body map[string]any) reply {
					close(asked)
					<-closing
					return grant(7, "60")(ctx, body)
				}, hang()).
				on("/release", func(ctx context.Context, body map[string]any) reply {
					close(givenBack)
					return freed()(ctx, body)
				}, freed())
			network := &whileClosing{RoundTripper: http.DefaultTransport, do: func() {
				close(closing)
				select {
				case <-givenBack:
				case <-returned:
				}
			}}
			client := server.client(t, quick, lockserver.WithHTTPClient(&http.Client{Transport: network}))
			var err error
			go func() {
				defer close(returned)
				_, err = client.Acquire(context.Background(), "r", opts...)
			}()
			<-asked
			require.NoError(t, client.Close())
			<-returned
			requireCode(t, err, lockserver.ErrConnectionFailed)
			require.Equal(t, server.seen("/acquire")[0].Body["id"], server.seen("/release")[0].Body["id"])
			require.Empty(t, server.seen("/renew"))
		})
	}
}

// A grant that arrives together with the end of its context, or of the client, is given back.
func TestGrantThatRacesWithTheEndIsGivenBack(t *testing.T) {
	for name, code := range map[string]error{"context": context.Canceled, "client": lockserver.ErrConnectionFailed} {
		t.Run(name, func(t *testing.T) {
			server := newScripted(t).on("/acquire", grant(7, "null")).on("/release", freed())
			ctx, cancel := context.WithCancel(context.Background())
			defer cancel()
			arrived, closing := make(chan struct{}), make(chan struct{})
			transport := roundTripper(func(r *http.Request) (*http.Response, error) {
				response, err := http.DefaultTransport.RoundTrip(r.WithContext(context.WithoutCancel(r.Context())))
				if r.URL.Path == "/acquire" {
					close(arrived)
					<-closing
				}
				return response, err
			})
			client := server.client(t, quick, lockserver.WithHTTPClient(&http.Client{Transport: transport}))
			result := make(chan error)
			go func() { _, err := client.Acquire(ctx, "r"); result <- err }()
			<-arrived
			if name == "context" {
				cancel()
				close(closing)
			} else {
				closed := make(chan struct{})
				go func() { _ = client.Close(); close(closed) }()
				eventually(t, "the client is closing", func() bool { return client.Release(ctx, "other") != nil })
				close(closing)
				defer func() { <-closed }()
			}
			require.ErrorIs(t, <-result, code)
			releases := server.seen("/release")
			require.Equal(t, server.seen("/acquire")[0].Body["id"], releases[len(releases)-1].Body["id"])
		})
	}
}
