package lockserver_test

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// A lease that the safety margin of 1 % and 2 ms leaves nothing of could never be relied on: it is refused before anything is sent.
func TestLeaseTooShortToBeSafeIsRefused(t *testing.T) {
	server := newMemory().on("/acquire", grant(7, "1000")).on("/renew", grant(7, "1000")).on("/release", freed())
	client := server.client(t, quick)
	lock, err := client.Acquire(within(t, soon), "r", lockserver.Expire(1000*time.Second))
	require.NoError(t, err)
	body := func(context.Context) error { return nil }
	refused := func(lease time.Duration, err error) {
		t.Helper()
		failure := requireCode(t, err, lockserver.ErrInvalidRequest)
		require.Equal(t, "expire", failure.Field)
		require.Equal(t, "r", failure.Resource)
		require.ErrorContains(t, err, "expire is "+lease.String()+", and must be more than the 1 % and 2ms that are taken off it")
	}
	for _, lease := range []time.Duration{-time.Second, time.Nanosecond, time.Millisecond, 2 * time.Millisecond, 2_020_202} {
		ctx := within(t, soon)
		_, err := client.Acquire(ctx, "r", lockserver.Expire(lease))
		refused(lease, err)
		_, err = client.Acquire(ctx, "r", lockserver.Expire(lease), lockserver.Renewed())
		refused(lease, err)
		_, err = client.TryAcquire(ctx, "r", lockserver.Expire(lease))
		refused(lease, err)
		refused(lease, client.WithLock(ctx, "r", body, lockserver.Expire(lease)))
		refused(lease, lock.Renew(ctx, lease))
	}
	_, err = client.Acquire(within(t, soon), "r", lockserver.Expire(0))
	refused(0, err)
	require.Len(t, server.seen("/acquire"), 1)
	require.Empty(t, server.seen("/renew"))

	// One that is barely long enough is the server's to judge.
	for _, lease := range []time.Duration{2_020_203, 3 * time.Millisecond, time.Second} {
		require.NoError(t, client.WithLock(within(t, soon), "r", body, lockserver.Expire(lease), lockserver.NonBlocking()))
		require.NoError(t, lock.Renew(within(t, soon), lease))
	}
	require.NoError(t, lock.Renew(within(t, soon), 0), "the length that it was taken for")
}
