package lockserver

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"
)

// backoff spaces out the retries of one call: the first comes at once, the others after a jittered pause that doubles up to a cap.
type backoff struct {
	start, cap time.Duration
	failures   int
}

// after returns how long to pause after an attempt that began at the given time and failed.
func (b *backoff) after(began time.Time, err error) time.Duration {
	if time.Since(began) >= b.cap {
		b.failures = 0 // an attempt as long as the longest pause needs none
	}
	b.failures++
	var pause time.Duration
	if n := b.failures - 2; n >= 0 {
		pause = min(b.start<<min(n, 16), b.cap)
		pause = pause/2 + rand.N(pause/2+1)
	}
	var failure *Error
	if errors.As(err, &failure) {
		pause = max(pause, failure.RetryAfter)
	}
	return pause
}

// failed tells whether the last attempt did.
func (b *backoff) failed() bool { return b.failures > 0 }

func (b *backoff) reset() { b.failures = 0 }

// pause sleeps for d, and less if one of the contexts ends before.
func pause(ctx, other context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-other.Done():
	}
}

func isTransient(err error) bool {
	var failure *Error
	return errors.As(err, &failure) && failure.transient()
}

// isRefused tells that the request certainly changed nothing.
func isRefused(err error) bool {
	var failure *Error
	return errors.As(err, &failure) && (failure.unsent || failure.Status >= 400 && failure.Status < 500)
}

// isUnsent tells that the request certainly never left.
func isUnsent(err error) bool {
	var failure *Error
	return errors.As(err, &failure) && failure.unsent
}
