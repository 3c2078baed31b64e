package lockserver_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/servertest"
	"github.com/lockserver/lockserver/sdk-go/internal/settings"
)

// These tests talk to the real server.

func TestAcquireAndRelease(t *testing.T) {
	client, name := newClient(t), servertest.UniqueName()
	ctx := within(t, soon)
	lock, err := client.Acquire(ctx, name)
	require.NoError(t, err)
	require.Equal(t, name, lock.Resource())
	require.Positive(t, lock.Token())
	require.True(t, lock.Expiry().IsZero())

	_, err = client.TryAcquire(ctx, name)
	requireCode(t, err, lockserver.ErrLocked)
	var locked *lockserver.LockedError
	require.ErrorAs(t, err, &locked)
	require.Len(t, locked.Holders, 1)
	require.Equal(t, client.Owner(), locked.Holders[0].Owner)
	require.Equal(t, lock.Token(), locked.Holders[0].Token)

	for range 3 {
		released, err := lock.Release(ctx)
		require.NoError(t, err)
		require.True(t, released)
	}
	requireFree(t, client, name)
	next, err := client.TryAcquire(ctx, name)
	require.NoError(t, err)
	require.Greater(t, next.Token(), lock.Token())
	released, err := lock.Release(ctx)
	require.NoError(t, err)
	require.True(t, released, "the old handle still says what it did")
	require.NoError(t, next.Renew(ctx, 0), "and frees nobody else")
	require.NoError(t, client.Release(ctx, name))
}

func TestBlockingInOrderOfArrival(t *testing.T) {
	client, name := newClient(t), servertest.UniqueName()
	ctx := within(t, soon)
	first, err := client.Acquire(ctx, name)
	require.NoError(t, err)
	const n = 5
	order := make(chan int, n)
	for i := range n {
		go func() {
			lock, err := client.Acquire(ctx, name)
			if err != nil {
				t.Error(err)
				return
			}
			order <- i
			if _, err := lock.Release(ctx); err != nil {
				t.Error(err)
			}
		}()
		eventually(t, "a waiter more", func() bool { return waiters(t, client, name) == i+1 })
	}
	_, err = first.Release(ctx)
	require.NoError(t, err)
	for i := range n {
		require.Equal(t, i, <-order)
	}
}

// The wait goes on over many hops, under one id and at one place.
func TestWaitingInHops(t *testing.T) {
	name := servertest.UniqueName()
	holder := newClient(t)
	waiter := newClient(t, withBounds(settings.Bounds{Hop: 20 * time.Millisecond}))
	ctx := within(t, soon)
	lock, err := holder.Acquire(ctx, name)
	require.NoError(t, err)
	results := make(chan error, 2)
	acquire := func(client *lockserver.Client, note string) {
		l, err := client.Acquire(ctx, name, lockserver.Note(note))
		if err == nil {
			_, err = l.Release(ctx)
		}
		results <- err
	}
	go acquire(waiter, "hopping")
	eventually(t, "the waiter", func() bool { return waiters(t, holder, name) == 1 })
	go acquire(holder, "late")
	eventually(t, "the second waiter", func() bool { return waiters(t, holder, name) == 2 })
	id, absent := "", 0
	for until := time.Now().Add(300 * time.Millisecond); time.Now().Before(until); {
		info, err := holder.Show(ctx, name)
		require.NoError(t, err)
		first := info.Queue[0]
		require.Equal(t, "hopping", first.Note)
		if id == "" {
			id = first.ID
		}
		require.Equal(t, id, first.ID)
		require.Equal(t, 1, first.Position)
		if !first.Present {
			absent++
		}
	}
	t.Logf("seen between two hops %d times", absent)
	_, err = lock.Release(ctx)
	require.NoError(t, err)
	require.NoError(t, <-results)
	require.NoError(t, <-results)
}

func TestExpiryFreesTheLockAndTellsItsHolder(t *testing.T) {
	client, name := newClient(t), servertest.UniqueName()
	ctx := within(t, soon)
	lock, err := client.Acquire(ctx, name, lockserver.Expire(300*time.Millisecond))
	require.NoError(t, err)
	require.Less(t, time.Until(lock.Expiry()), 300*time.Millisecond)
	next, err := client.Acquire(ctx, name)
	require.NoError(t, err)
	require.ErrorIs(t, lock.Err(), lockserver.ErrLockLost, "told before the next holder")
	require.Greater(t, next.Token(), lock.Token())
	released, err := lock.Release(ctx)
	require.NoError(t, err)
	require.False(t, released)
	require.NoError(t, next.Renew(ctx, 0))
	_, err = next.Release(ctx)
	require.NoError(t, err)
}

func TestRenewLengthens(t *testing.T) {
	client, name := newClient(t), servertest.UniqueName()
	ctx := within(t, soon)
	lock, err := client.Acquire(ctx, name, lockserver.Expire(5*time.Second))
	require.NoError(t, err)
	require.NoError(t, lock.Renew(ctx, time.Hour))
	require.WithinDuration(t, time.Now().Add(time.Hour-36*time.Second), lock.Expiry(), 5*time.Second)
	info, err := client.Show(ctx, name)
	require.NoError(t, err)
	require.Greater(t, info.Holders[0].ExpiresIn, 59*time.Minute)
	_, err = lock.Release(ctx)
	require.NoError(t, err)
}

func TestBackgroundRenewalOutlivesTheLease(t *testing.T) {
	t.Parallel()
	client, name := newClient(t), servertest.UniqueName()
	ctx := within(t, soon)
	start := time.Now()
	require.NoError(t, client.WithLock(ctx, name, func(ctx context.Context) error {
		for time.Since(start) < 2*time.Second {
			if _, err := client.TryAcquire(ctx, name); !errors.Is(err, lockserver.ErrLocked) {
				return fmt.Errorf("not locked: %w", err)
			}
			time.Sleep(50 * time.Millisecond)
		}
		return nil
	}, lockserver.Expire(1500*time.Millisecond)))
	requireFree(t, client, name)
}

func TestSharedAndSemaphore(t *testing.T) {
	client, name := newClient(t), servertest.UniqueName()
	ctx := within(t, soon)
	one, err := client.TryAcquire(ctx, name, lockserver.Shared())
	require.NoError(t, err)
	other, err := client.TryAcquire(ctx, name, lockserver.Shared(), lockserver.Note("reads"))
	require.NoError(t, err)
	_, err = client.TryAcquire(ctx, name)
	requireCode(t, err, lockserver.ErrLocked)
	_, err = client.TryAcquire(ctx, name, lockserver.Limit(2))
	requireCode(t, err, lockserver.ErrLimitMismatch)
	requireCode(t, client.Release(ctx, name), lockserver.ErrTokenRequired)
	info, err := client.Show(ctx, name)
	require.NoError(t, err)
	require.Equal(t, "shared", info.Mode)
	require.Equal(t, 2, info.HoldersTotal)
	_, err = one.Release(ctx)
	require.NoError(t, err)
	require.NoError(t, client.Release(ctx, name), "the one that is left")
	released, err := other.Release(ctx)
	require.NoError(t, err)
	require.True(t, released)

	const limit = 3
	var inside atomic.Int64
	full := make(chan struct{})
	var group sync.WaitGroup
	for range 10 {
		group.Go(func() {
			err := client.WithLock(ctx, name, func(ctx context.Context) error {
				now := inside.Add(1)
				defer inside.Add(-1)
				if now > limit {
					return fmt.Errorf("%d at once", now)
				}
				if now == limit {
					select {
					case <-full:
					default:
						close(full)
					}
				}
				select {
				case <-full:
				case <-ctx.Done():
					return fmt.Errorf("never %d at once: %w", limit, ctx.Err())
				}
				time.Sleep(10 * time.Millisecond) // room for one too many
				return nil
			}, lockserver.Limit(limit))
			if err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
}

func TestReleaseByOwner(t *testing.T) {
	name, owner := servertest.UniqueName(), lockserver.WithOwner(servertest.UniqueName())
	ctx := within(t, soon)
	lock, err := newClient(t, owner).Acquire(ctx, name)
	require.NoError(t, err)
	requireCode(t, newClient(t).Release(ctx, name), lockserver.ErrNotHeld)
	heir := newClient(t, owner)
	require.NoError(t, heir.Release(ctx, name))
	requireCode(t, heir.Release(ctx, name), lockserver.ErrNotHeld)
	require.ErrorIs(t, lock.Renew(ctx, 0), lockserver.ErrLockLost)
}

func TestListShowForceRelease(t *testing.T) {
	client, prefix := newClient(t), servertest.UniqueName()
	ctx := within(t, soon)
	var locks []*lockserver.Lock
	for i := range 5 {
		lock, err := client.Acquire(ctx, fmt.Sprintf("%s/%d ü&?", prefix, i), lockserver.Expire(time.Hour), lockserver.Note("note ✓"))
		require.NoError(t, err)
		locks = append(locks, lock)
	}
	var names []string
	o := lockserver.ListOptions{Prefix: prefix, Owner: client.Owner(), Limit: 2}
	for pages := 0; ; pages++ {
		page, err := client.List(ctx, o)
		require.NoError(t, err)
		for _, info := range page.Locks {
			names = append(names, info.Resource)
		}
		if o.Cursor = page.Next; o.Cursor == "" {
			require.Equal(t, 2, pages)
			break
		}
	}
	require.Len(t, names, 5)
	none, err := client.List(ctx, lockserver.ListOptions{Prefix: prefix, Owner: "nobody"})
	require.NoError(t, err)
	require.Empty(t, none.Locks)

	info, err := client.Show(ctx, locks[0].Resource())
	require.NoError(t, err)
	require.Equal(t, "exclusive", info.Mode)
	require.Equal(t, 1, info.HoldersTotal)
	holder := info.Holders[0]
	require.Equal(t, client.Owner(), holder.Owner)
	require.Equal(t, locks[0].Token(), holder.Token)
	require.Equal(t, "note ✓", holder.Note)
	require.NotEmpty(t, holder.ID)
	require.InDelta(t, time.Hour, holder.ExpiresIn, float64(time.Minute))
	require.Less(t, holder.HeldFor, time.Minute)

	_, err = client.ForceRelease(ctx, locks[0].Resource(), 1)
	require.Error(t, err, "another token")
	evicted, err := client.ForceRelease(ctx, locks[0].Resource(), locks[0].Token())
	require.NoError(t, err)
	require.Len(t, evicted, 1)
	require.Equal(t, client.Owner(), evicted[0].Owner)
	require.Equal(t, locks[0].Token(), evicted[0].Token)
	_, err = client.ForceRelease(ctx, locks[0].Resource(), 0)
	requireCode(t, err, lockserver.ErrNotFound)
	err = locks[0].Renew(ctx, 0)
	var loss *lockserver.LockLostError
	require.ErrorAs(t, err, &loss)
	require.Equal(t, lockserver.ReasonEvicted, loss.Reason)
	for _, lock := range locks[1:] {
		released, err := lock.Release(ctx)
		require.NoError(t, err)
		require.True(t, released)
	}
}

func TestWrongSecretAndInvalidInput(t *testing.T) {
	ctx := within(t, soon)
	_, err := newClient(t, lockserver.WithSecret("wrong-wrong-wrong-wrong")).Acquire(ctx, "r")
	require.Equal(t, 401, requireCode(t, err, lockserver.ErrUnauthorized).Status)
	client := newClient(t)
	for field, try := range map[string]func() error{
		"resource": func() error { _, err := client.Acquire(ctx, strings.Repeat("x", 513)); return err },
		"note": func() error {
			_, err := client.Acquire(ctx, "r", lockserver.Note(strings.Repeat("x", 1025)))
			return err
		},
		"limit":  func() error { _, err := client.Acquire(ctx, "r", lockserver.Limit(2_000_000)); return err },
		"expire": func() error { _, err := client.Acquire(ctx, "r", lockserver.Expire(11*365*24*time.Hour)); return err },
	} {
		require.Equal(t, field, requireCode(t, try(), lockserver.ErrInvalidRequest).Field)
	}
	_, err = client.Acquire(ctx, "")
	require.Equal(t, "resource", requireCode(t, err, lockserver.ErrInvalidRequest).Field)
}

// Goroutines that share a client exclude each other; the counter is not atomic on purpose.
func TestGoroutinesExcludeEachOther(t *testing.T) {
	client, name := newClient(t), servertest.UniqueName()
	ctx := within(t, 2*soon)
	const goroutines, rounds = 32, 10
	counter, inside := 0, atomic.Int64{}
	var group sync.WaitGroup
	for range goroutines {
		group.Go(func() {
			for range rounds {
				lock, err := client.Acquire(ctx, name)
				if err != nil {
					t.Error(err)
					return
				}
				if inside.Add(1) != 1 {
					t.Error("two at once")
				}
				before := counter
				runtime.Gosched()
				counter = before + 1
				inside.Add(-1)
				if _, err := lock.Release(ctx); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	require.Equal(t, goroutines*rounds, counter)
	requireFree(t, client, name)
}
