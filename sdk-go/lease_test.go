package lockserver_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/testclock"
)

func requireClosed(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
	case <-within(t, soon).Done():
		t.Fatal("not closed")
	}
}

func requireOpen(t *testing.T, done <-chan struct{}) {
	t.Helper()
	select {
	case <-done:
		t.Fatal("closed")
	default:
	}
}

// The safe deadline is sending + waited + expires_in - (1 % + 2 ms), and holds on both clocks.
func TestSafeDeadline(t *testing.T) {
	for name, shift := range map[string]func(*testclock.Clock, time.Duration){
		"monotonic": (*testclock.Clock).ShiftMonotonic,
		"wall":      (*testclock.Clock).ShiftWall,
	} {
		t.Run(name, func(t *testing.T) {
			clock := testclock.New()
			bounds := quick
			bounds.Tick = time.Hour // only asking finds out
			server := newMemory().
				on("/acquire", answer(200, `{"token":7,"expires_in":1000.0,"waited":100.0}`)).
				on("/renew", grant(7, "1000"), grant(7, "500"), grant(7, "2000")).
				on("/release", freed())
			before := time.Now()
			lock, err := server.client(t, bounds, withClock(clock)).Acquire(within(t, soon), "r", lockserver.Expire(1000*time.Second))
			require.NoError(t, err)
			const slack = 5 * time.Second // the test itself takes some time
			requireDeadline := func(want time.Duration) {
				t.Helper()
				require.WithinRange(t, lock.Expiry(), before.Add(want-slack), before.Add(want+slack))
			}
			requireDeadline(1100*time.Second - 10*time.Second)

			shift(clock, 1080*time.Second)
			require.NoError(t, lock.Err())
			requireOpen(t, lock.Done())
			require.NoError(t, lock.Renew(within(t, soon), 0)) // to 1080+990
			shift(clock, 980*time.Second)
			require.NoError(t, lock.Err())
			require.NoError(t, lock.Renew(within(t, soon), 0)) // 2060+495: further
			shift(clock, 480*time.Second)
			require.NoError(t, lock.Err())
			require.NoError(t, lock.Renew(within(t, soon), 2000*time.Second)) // 2540+1980
			shift(clock, 1970*time.Second)
			require.NoError(t, lock.Err())

			shift(clock, 20*time.Second)
			if name == "wall" { // both look at the clocks, whichever is asked first
				requireClosed(t, lock.Done())
			}
			require.ErrorIs(t, lock.Err(), lockserver.ErrLockLost)
			requireClosed(t, lock.Done())
			var loss *lockserver.LockLostError
			require.ErrorAs(t, lock.Err(), &loss)
			require.Equal(t, "r", loss.Resource)
			require.EqualValues(t, 7, loss.Token)
			require.Equal(t, lockserver.ReasonExpired, loss.Reason)
			requireCode(t, lock.Renew(within(t, soon), 0), lockserver.ErrLockLost)

			shift(clock, -10000*time.Second)
			require.ErrorIs(t, lock.Err(), lockserver.ErrLockLost, "a loss is final")
			for range 2 {
				released, err := lock.Release(within(t, soon))
				require.NoError(t, err)
				require.False(t, released)
			}
		})
	}
}

// A renewal that says less than an earlier one does not shorten.
func TestRenewalNeverShortens(t *testing.T) {
	server := newMemory().on("/acquire", grant(7, "1000")).on("/renew", grant(7, "1"))
	lock, err := server.client(t, quick).Acquire(within(t, soon), "r", lockserver.Expire(1000*time.Second))
	require.NoError(t, err)
	before := lock.Expiry()
	require.NoError(t, lock.Renew(within(t, soon), time.Second))
	require.WithinDuration(t, before, lock.Expiry(), time.Millisecond)
}

// Without anybody asking, Done closes by itself: at the deadline, and soon after a clock has moved past it.
func TestDoneClosesByItself(t *testing.T) {
	clock := testclock.New()
	bounds := quick
	bounds.Tick = 10 * time.Millisecond
	server := newMemory().on("/acquire", grant(7, "0.3")).on("/release", freed())
	client := server.client(t, bounds, withClock(clock))

	start := time.Now()
	lock, err := client.Acquire(within(t, soon), "r", lockserver.Expire(300*time.Millisecond))
	require.NoError(t, err)
	requireClosed(t, lock.Done())
	require.GreaterOrEqual(t, time.Since(start), 290*time.Millisecond)
	require.ErrorIs(t, lock.Err(), lockserver.ErrLockLost)

	server.on("/acquire", grant(8, "1000"))
	lock, err = client.Acquire(within(t, soon), "r", lockserver.Expire(1000*time.Second))
	require.NoError(t, err)
	done := lock.Done()
	requireOpen(t, done)
	clock.ShiftWall(time.Hour)
	requireClosed(t, done)
}

// Renewal comes at a third of the lease, and survives failures until the safe deadline.
func TestRenewalSurvivesFailures(t *testing.T) {
	t.Parallel()
	server := newMemory().
		on("/acquire", grant(7, "1.2")).
		on("/renew", cut(), answer(502, ""), problem(401, "unauthorized", ""), grant(7, "1.2")).
		on("/release", freed())
	lock, err := server.client(t, quick).Acquire(within(t, soon), "r", lockserver.Expire(1200*time.Millisecond), lockserver.Renewed())
	require.NoError(t, err)
	eventually(t, "several renewals", func() bool { return len(server.seen("/renew")) >= 6 })
	require.NoError(t, lock.Err())
	require.False(t, server.seen("/renew")[0].Fresh)
	require.True(t, server.seen("/renew")[1].Fresh, "a renewal is retried on a connection of its own")
	released, err := lock.Release(within(t, soon))
	require.NoError(t, err)
	require.True(t, released)
	requireClosed(t, lock.Done())
	require.NoError(t, lock.Err())
	count := len(server.seen("/renew"))
	time.Sleep(500 * time.Millisecond) // longer than a third of the lease
	require.Len(t, server.seen("/renew"), count, "renewal went on after the release")
	require.Equal(t, 1.2, server.seen("/renew")[0].Body["expire"])
	require.EqualValues(t, 7, server.seen("/renew")[0].Body["token"])
}

// A server that hangs on one renewal does not take the lease with it: an attempt has a third of it.
func TestRenewalAttemptIsBounded(t *testing.T) {
	t.Parallel()
	server := newMemory().on("/acquire", grant(7, "2.1")).on("/renew", hang(), grant(7, "2.1")).on("/release", freed())
	lock, err := server.client(t, quick).Acquire(within(t, soon), "r", lockserver.Expire(2100*time.Millisecond), lockserver.Renewed())
	require.NoError(t, err)
	eventually(t, "a renewal after the hanging one", func() bool { return len(server.seen("/renew")) >= 3 })
	require.NoError(t, lock.Err())
}

func TestRenewalThatNeverSucceedsLosesTheLock(t *testing.T) {
	server := newMemory().on("/acquire", grant(7, "0.3")).on("/renew", answer(503, "")).on("/release", freed())
	start := time.Now()
	lock, err := server.client(t, quick).Acquire(within(t, soon), "r", lockserver.Expire(300*time.Millisecond), lockserver.Renewed())
	require.NoError(t, err)
	requireClosed(t, lock.Done())
	require.ErrorIs(t, lock.Err(), lockserver.ErrLockLost)
	require.GreaterOrEqual(t, time.Since(start), 290*time.Millisecond, "a transient error is no loss")
}

func TestServersWordIsALoss(t *testing.T) {
	for _, renew := range []func(*lockserver.Lock) error{
		func(l *lockserver.Lock) error { return l.Renew(context.Background(), time.Minute) },
		func(l *lockserver.Lock) error { <-l.Done(); return l.Err() }, // in the background
	} {
		server := newMemory().on("/acquire", grant(7, "30")).on("/renew", problem(409, "not_held", `,"reason":"evicted"`))
		lock, err := server.client(t, quick).Acquire(within(t, soon), "r", lockserver.Expire(100*time.Millisecond), lockserver.Renewed())
		require.NoError(t, err)
		err = renew(lock)
		requireCode(t, err, lockserver.ErrLockLost)
		var loss *lockserver.LockLostError
		require.ErrorAs(t, err, &loss)
		require.Equal(t, lockserver.ReasonEvicted, loss.Reason)
		released, err := lock.Release(within(t, soon))
		require.NoError(t, err)
		require.False(t, released)
		require.Empty(t, server.seen("/release"), "the server has said already what became of it")
	}
}

func TestRenewAnswersForItsContextAndItsClient(t *testing.T) {
	server := newMemory().on("/acquire", grant(7, "null")).on("/renew", hang())
	client := server.client(t, quick)
	lock, err := client.Acquire(within(t, soon), "r")
	require.NoError(t, err)
	require.True(t, lock.Expiry().IsZero())

	require.ErrorIs(t, lock.Renew(within(t, 20*time.Millisecond), 0), context.DeadlineExceeded)
	require.NoError(t, lock.Err())
	before := len(server.seen("/renew")) // none, on a machine that was busy for so long
	requireCode(t, lock.Renew(within(t, soon), -1), lockserver.ErrInvalidRequest)

	failed := make(chan error)
	go func() { failed <- lock.Renew(context.Background(), 0) }()
	eventually(t, "the renewal", func() bool { return len(server.seen("/renew")) > before })
	require.NoError(t, client.Close())
	requireCode(t, <-failed, lockserver.ErrConnectionFailed)
	requireCode(t, lock.Renew(context.Background(), 0), lockserver.ErrConnectionFailed)
}

// A renewal that a release overtook is told not_held, which takes nothing from what the release was told.
func TestReleaseOvertakesARenewal(t *testing.T) {
	renewing, released := make(chan struct{}), make(chan struct{})
	server := newMemory().on("/acquire", grant(7, "30")).on("/release", freed()).
		on("/renew", func(ctx context.Context, body map[string]any) reply {
			close(renewing)
			<-released
			return problem(409, "not_held", `,"reason":"unknown"`)(ctx, body)
		})
	lock, err := server.client(t, quick).Acquire(within(t, soon), "r", lockserver.Expire(30*time.Second))
	require.NoError(t, err)
	failed := make(chan error)
	go func() { failed <- lock.Renew(within(t, soon), 0) }()
	<-renewing
	first, err := lock.Release(within(t, soon))
	require.NoError(t, err)
	require.True(t, first)
	close(released)
	requireCode(t, <-failed, lockserver.ErrNotHeld)
	require.NoError(t, lock.Err(), "it was not lost")
	again, err := lock.Release(within(t, soon))
	require.NoError(t, err)
	require.True(t, again, "a release repeats its answer")
}

// The verdict on a scope: the body's error comes first, then the server's word, then what was known here.
func TestWhatAScopeReturns(t *testing.T) {
	sentinel := errors.New("the body's own error")
	outlive := func(ctx context.Context) error { <-ctx.Done(); return nil }
	lostLocally := grant(7, "0.1")
	down := answer(503, "")
	notHeld := problem(409, "not_held", `,"reason":"expired"`)
	for name, c := range map[string]struct {
		acquire, release step
		body             func(context.Context) error
		want             []error // nil: no error
	}{
		"all well":                               {grant(7, "30"), freed(), func(context.Context) error { return nil }, nil},
		"body's error":                           {grant(7, "30"), freed(), func(context.Context) error { return sentinel }, []error{sentinel}},
		"body's error, lost":                     {grant(7, "30"), notHeld, func(context.Context) error { return sentinel }, []error{sentinel}},
		"lost, found at the release":             {grant(7, "30"), notHeld, func(context.Context) error { return nil }, []error{lockserver.ErrLockLost}},
		"lost, body well":                        {lostLocally, notHeld, outlive, []error{lockserver.ErrLockLost}},
		"lost, body well, server unreachable":    {lostLocally, down, outlive, []error{lockserver.ErrLockLost}},
		"thought lost, but the server knows":     {lostLocally, freed(), outlive, nil},
		"server unreachable":                     {grant(7, "30"), down, func(context.Context) error { return nil }, nil},
		"server unreachable, body's error":       {grant(7, "30"), down, func(context.Context) error { return sentinel }, []error{sentinel}},
		"lost, body returns its context's end":   {lostLocally, notHeld, func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() }, []error{context.Canceled, lockserver.ErrLockLost}},
		"lost, body returns its context's cause": {lostLocally, notHeld, func(ctx context.Context) error { <-ctx.Done(); return context.Cause(ctx) }, []error{lockserver.ErrLockLost}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			bounds := quick
			if strings.Contains(name, "unreachable") {
				bounds.Cleanup = time.Second // a third of it is enough to reach the server on a busy machine
			}
			server := newMemory().on("/acquire", c.acquire).on("/renew", down).on("/release", c.release)
			var scope context.Context
			err := server.client(t, bounds).WithLock(within(t, soon), "r", func(ctx context.Context) error {
				scope = ctx
				require.EqualValues(t, 7, lockserver.FromContext(ctx).Token())
				return c.body(ctx)
			})
			if c.want == nil {
				require.NoError(t, err)
			}
			for _, want := range c.want {
				require.ErrorIs(t, err, want)
			}
			require.Error(t, scope.Err(), "the scope's context ends with it")
			require.NotEmpty(t, server.seen("/release"))
		})
	}
}

func TestScopeContextIsCancelledByLoss(t *testing.T) {
	server := newMemory().on("/acquire", grant(7, "30")).on("/renew", problem(409, "not_held", `,"reason":"other_holder"`))
	err := server.client(t, quick).WithLock(within(t, soon), "r", func(ctx context.Context) error {
		<-ctx.Done()
		require.ErrorIs(t, context.Cause(ctx), lockserver.ErrLockLost)
		return nil
	}, lockserver.Expire(100*time.Millisecond))
	var loss *lockserver.LockLostError
	require.ErrorAs(t, err, &loss)
	require.Equal(t, lockserver.ReasonOtherHolder, loss.Reason)
}

func TestScopeReleasesOnPanicAndGoexit(t *testing.T) {
	server := newMemory().on("/acquire", grant(7, "30")).on("/release", freed())
	client := server.client(t, quick)
	require.PanicsWithValue(t, "oh", func() {
		_ = client.WithLock(within(t, soon), "r", func(context.Context) error { panic("oh") })
	})
	require.Len(t, server.seen("/release"), 1)
	require.Equal(t, 30.0, server.seen("/acquire")[0].Body["expire"], "a scope has a lease of its own")
}

func TestAScopeThatGivesItsLockBackItself(t *testing.T) {
	server := newMemory().on("/acquire", grant(7, "30")).on("/release", freed())
	require.NoError(t, server.client(t, quick).WithLock(within(t, soon), "r", func(ctx context.Context) error {
		released, err := lockserver.FromContext(ctx).Release(ctx)
		require.NoError(t, err)
		require.True(t, released)
		require.NoError(t, ctx.Err(), "only a loss cancels the scope")
		return nil
	}))
	require.Len(t, server.seen("/release"), 1)
	require.Nil(t, lockserver.FromContext(context.Background()))
}
