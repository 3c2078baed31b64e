package lockserver_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log"
	"sync"
	"time"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// The examples run against a real server, which LOCKSERVER_ADDR and LOCKSERVER_SECRET name.

// The recommended form: the lock is renewed while the body runs, and released however it ends.
func ExampleClient_WithLock() {
	ctx := context.Background()
	client, err := lockserver.New()
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	err = client.WithLock(ctx, "invoices/2026-11", func(ctx context.Context) error {
		fmt.Println("writing invoices") // ctx is cancelled if the lock is lost
		return ctx.Err()
	})
	if err != nil {
		log.Fatal(err)
	}
	// Output: writing invoices
}

// Blocking: wait for as long as it takes.
func ExampleClient_Acquire() {
	ctx := context.Background()
	client, err := lockserver.New()
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	lock, err := client.Acquire(ctx, "printer")
	if err != nil {
		log.Fatal(err)
	}
	defer lock.Release(ctx)
	fmt.Println("locked", lock.Resource())
	// Output: locked printer
}

// Blocking, but give up after 2 s. Nothing stays behind in the queue.
func ExampleClient_Acquire_giveUp() {
	ctx := context.Background()
	client, err := lockserver.New()
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	busy, err := client.Acquire(ctx, "scanner")
	if err != nil {
		log.Fatal(err)
	}
	defer busy.Release(ctx)

	limited, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	lock, err := client.Acquire(limited, "scanner")
	if errors.Is(err, lockserver.ErrLockTimeout) {
		fmt.Println("still busy after 2 s")
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	defer lock.Release(ctx)
	// Output: still busy after 2 s
}

// Non-blocking: take it, or hear who has it.
func ExampleClient_TryAcquire() {
	ctx := context.Background()
	client, err := lockserver.New(lockserver.WithOwner("worker-1"))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	first, err := client.Acquire(ctx, "nightly-report")
	if err != nil {
		log.Fatal(err)
	}
	defer first.Release(ctx)

	lock, err := client.TryAcquire(ctx, "nightly-report")
	if locked, ok := errors.AsType[*lockserver.LockedError](err); ok {
		fmt.Println("held by", locked.Holders[0].Owner)
		return
	}
	if err != nil {
		log.Fatal(err)
	}
	defer lock.Release(ctx)
	// Output: held by worker-1
}

// Expiring: the lock ends by itself, and says so.
func ExampleExpire() {
	ctx := context.Background()
	client, err := lockserver.New()
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	lock, err := client.Acquire(ctx, "cache-rebuild", lockserver.Expire(500*time.Millisecond))
	if err != nil {
		log.Fatal(err)
	}
	<-lock.Done() // nothing renews it
	fmt.Println(errors.Is(lock.Err(), lockserver.ErrLockLost))
	// Output: true
}

// Expiring, and renewed in the background: for locks that are not held in one function.
func ExampleRenewed() {
	ctx := context.Background()
	client, err := lockserver.New()
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	leader, err := client.Acquire(ctx, "leader", lockserver.Expire(15*time.Second), lockserver.Renewed())
	if err != nil {
		log.Fatal(err)
	}
	defer leader.Release(ctx)
	select {
	case <-leader.Done():
		fmt.Println("no longer the leader:", leader.Err())
	case <-time.After(10 * time.Millisecond):
		fmt.Println("work as the leader is done")
	}
	// Output: work as the leader is done
}

// A counting semaphore: at most two at a time.
func ExampleLimit() {
	ctx := context.Background()
	client, err := lockserver.New()
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	var downloads sync.WaitGroup
	for range 5 {
		downloads.Go(func() {
			err := client.WithLock(ctx, "downloads", func(ctx context.Context) error {
				return nil // at most two are in here, on all machines together
			}, lockserver.Limit(2))
			if err != nil {
				log.Print(err)
			}
		})
	}
	downloads.Wait()
	fmt.Println("all downloaded")
	// Output: all downloaded
}

// Readers and a writer: readers share the lock, a writer has it alone, and whoever came first goes first.
func ExampleShared() {
	ctx := context.Background()
	client, err := lockserver.New()
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()

	one, err := client.Acquire(ctx, "catalogue", lockserver.Shared())
	if err != nil {
		log.Fatal(err)
	}
	other, err := client.Acquire(ctx, "catalogue", lockserver.Shared())
	if err != nil {
		log.Fatal(err)
	}
	_, err = client.TryAcquire(ctx, "catalogue")
	fmt.Println("a writer may not while they read:", errors.Is(err, lockserver.ErrLocked))

	one.Release(ctx)
	other.Release(ctx)
	writer, err := client.TryAcquire(ctx, "catalogue")
	if err != nil {
		log.Fatal(err)
	}
	defer writer.Release(ctx)
	fmt.Println("a writer may now")
	// Output:
	// a writer may not while they read: true
	// a writer may now
}

// The token as a fence: the database refuses a holder that was asleep while its lease ended and somebody with a higher token came.
func ExampleLock_Token() {
	var (
		ctx    context.Context
		client *lockserver.Client
		db     *sql.DB
	)

	err := client.WithLock(ctx, "account/7", func(ctx context.Context) error {
		token := lockserver.FromContext(ctx).Token()
		result, err := db.ExecContext(ctx,
			`UPDATE accounts SET balance = balance - 10, token = $1 WHERE id = $2 AND token <= $1`, token, 7)
		if err != nil {
			return err
		}
		if changed, err := result.RowsAffected(); err != nil || changed == 0 {
			return errors.Join(err, errors.New("account 7 is not mine any more"))
		}
		return nil
	})
	fmt.Println(err)
}

// What is locked, and by whom.
func ExampleClient_List() {
	ctx := context.Background()
	client, err := lockserver.New(lockserver.WithOwner("worker-2"))
	if err != nil {
		log.Fatal(err)
	}
	defer client.Close()
	lock, err := client.Acquire(ctx, "jobs/42", lockserver.Note("rebuilding the index"))
	if err != nil {
		log.Fatal(err)
	}
	defer lock.Release(ctx)

	page, err := client.List(ctx, lockserver.ListOptions{Prefix: "jobs/"})
	if err != nil {
		log.Fatal(err)
	}
	for _, info := range page.Locks {
		fmt.Println(info.Resource, info.Holders[0].Owner, info.Holders[0].Note)
	}
	// Output: jobs/42 worker-2 rebuilding the index
}
