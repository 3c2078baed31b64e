package lockserver

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// counting answers every call, and counts them.
type counting struct{ calls int }

func (c *counting) do(context.Context, call, any) (answer, error) {
	c.calls++
	return answered, nil
}

func (c *counting) close() {}

// A renewal whose time comes while the client closes, and before its lock is declared lost, is not begun: Close would not wait for it.
func TestRenewalIsNotBegunWhileTheClientCloses(t *testing.T) {
	client, err := New(WithSecret("s"), WithoutDotEnv())
	require.NoError(t, err)
	network := &counting{}
	client.transport = network
	lease := 60.0
	lock := client.hold(&acquisition{
		client: client, options: &acquireOptions{expire: time.Minute, renew: true}, request: acquireRequest{Resource: "r"},
	}, client.tuning.Clock.Now(), &grantAnswer{Token: 7, ExpiresIn: &lease})
	require.NotNil(t, lock)

	lock.renewInBackground()
	require.Equal(t, 1, network.calls, "while the client is open")
	client.mu.Lock()
	client.closed = true
	client.mu.Unlock()
	lock.renewInBackground()
	require.Equal(t, 1, network.calls)
	require.NoError(t, lock.Err())

	require.NoError(t, client.Close())
	require.ErrorIs(t, lock.Err(), ErrLockLost)
	lock.renewInBackground()
	require.Equal(t, 1, network.calls)
}
