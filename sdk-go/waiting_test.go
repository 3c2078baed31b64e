package lockserver_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/servertest"
)

// These tests end calls while they wait, against the real server.

func TestGiveUp(t *testing.T) {
	client, name := newClient(t), servertest.UniqueName()
	lock, err := client.Acquire(within(t, soon), name)
	require.NoError(t, err)

	start := time.Now()
	_, err = client.Acquire(within(t, time.Second), name)
	requireCode(t, err, lockserver.ErrLockTimeout)
	require.ErrorIs(t, err, context.DeadlineExceeded)
	require.GreaterOrEqual(t, time.Since(start), time.Second)
	require.Regexp(t, `was not granted within [\d.]+ s: held by \S+ for [\d.]+ s, which is this very client$`, err.Error())
	var timeout *lockserver.LockTimeoutError
	require.ErrorAs(t, err, &timeout)
	require.Equal(t, lock.Token(), timeout.Holders[0].Token)
	require.Equal(t, 1, timeout.HoldersTotal)
	require.Zero(t, waiters(t, client, name), "it left the queue")

	reason := errors.New("changed my mind")
	ctx, cancel := context.WithCancelCause(context.Background())
	result := make(chan error)
	go func() { _, err := client.Acquire(ctx, name); result <- err }()
	eventually(t, "the waiter", func() bool { return waiters(t, client, name) == 1 })
	cancel(reason)
	err = <-result
	require.ErrorIs(t, err, context.Canceled)
	require.ErrorIs(t, err, reason)
	require.NotErrorIs(t, err, lockserver.ErrLockTimeout)
	require.Zero(t, waiters(t, client, name))

	ended, cancelled := context.WithCancel(context.Background())
	cancelled()
	other := servertest.UniqueName()
	_, err = client.Acquire(ended, other)
	require.ErrorIs(t, err, context.Canceled)
	_, err = client.TryAcquire(ended, other)
	require.ErrorIs(t, err, context.Canceled)
	requireFree(t, client, other)

	_, err = lock.Release(within(t, soon))
	require.NoError(t, err)
	requireFree(t, client, name)
}

// Cancelled at any instant, also in the race with the grant: nothing stays held or queued when Acquire has returned its error.
func TestCancelledAtAnyInstant(t *testing.T) {
	client := newClient(t)
	for _, contended := range []bool{false, true} {
		name := servertest.UniqueName()
		granted, given := 0, 0
		var span time.Duration // over which cancels are spread: twice what the last grant took, however busy the machine is
		for i := range 300 {
			ctx, cancel := context.WithCancel(context.Background())
			var holder *lockserver.Lock
			if contended {
				var err error
				holder, err = client.Acquire(within(t, soon), name)
				require.NoError(t, err)
				go func() { // the grant comes about when the cancel does
					time.Sleep(500 * time.Microsecond)
					_, _ = holder.Release(context.Background())
				}()
			}
			start := time.Now()
			const steps = 100
			delay := span * time.Duration(i%steps) / steps
			if i%steps == 0 {
				delay = time.Hour // not cancelled at all
			}
			timer := time.AfterFunc(delay, cancel)
			lock, err := client.Acquire(ctx, name)
			if err == nil {
				granted++
				span = 2 * time.Since(start)
				_, err := lock.Release(context.Background())
				require.NoError(t, err)
			} else {
				given++
				require.ErrorIs(t, err, context.Canceled)
			}
			timer.Stop()
			cancel()
			if holder != nil {
				<-holder.Done()
			}
			requireFree(t, client, name)
		}
		t.Logf("contended %v: %d granted, %d cancelled", contended, granted, given)
		require.NotZero(t, granted)
		require.NotZero(t, given)
	}
}

func TestNonBlockingScope(t *testing.T) {
	client, name := newClient(t), servertest.UniqueName()
	ctx := within(t, soon)
	require.NoError(t, client.WithLock(ctx, name, func(ctx context.Context) error {
		err := client.WithLock(ctx, name, func(context.Context) error { return nil }, lockserver.NonBlocking())
		requireCode(t, err, lockserver.ErrLocked)
		return nil
	}, lockserver.NonBlocking()))
	requireFree(t, client, name)
}

// Waiting calls must not stand in the way of releases and renewals.
func TestParkedWaitsDoNotStarveOthers(t *testing.T) {
	client, name := newClient(t), servertest.UniqueName()
	ctx := within(t, 2*soon)
	lock, err := client.Acquire(ctx, name, lockserver.Expire(time.Minute))
	require.NoError(t, err)
	const n = 500
	var group sync.WaitGroup
	for range n {
		group.Go(func() {
			l, err := client.Acquire(ctx, name)
			if err == nil {
				_, err = l.Release(ctx)
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "the waiters", func() bool { return waiters(t, client, name) == n })
	require.NoError(t, lock.Renew(within(t, 5*time.Second), 0))
	released, err := lock.Release(within(t, 5*time.Second))
	require.NoError(t, err)
	require.True(t, released)
	group.Wait()
}
