package lockserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/lockserver/lockserver/sdk-go/internal/tuning"
)

// Acquire waits until the lock is granted, in order of arrival, for as long as ctx allows. Lost connections and restarts of the server
// are survived meanwhile, and the place in the queue with them; only 30 s without any answer (60 s once queued) are an
// ErrConnectionFailed, and that only where ctx has no deadline.
//
// Without [Expire] or [Renewed] the lock is held until it is released: if this process dies first, it stays held until an operator
// releases it by force. [Client.WithLock] has no such end.
//
// When ctx ends, Acquire tells the server and returns an error that satisfies errors.Is for ctx.Err() (and ErrLockTimeout, where it was
// a deadline), at most a second later. Nothing stays held, also where the grant was already on its way.
func (c *Client) Acquire(ctx context.Context, resource string, opts ...AcquireOption) (*Lock, error) {
	return c.acquire(ctx, resource, readOptions(opts))
}

// TryAcquire takes the lock if it is free, and fails with ErrLocked, a [*LockedError], if it is not. It retries and gives up as
// [Client.Acquire] does.
func (c *Client) TryAcquire(ctx context.Context, resource string, opts ...AcquireOption) (*Lock, error) {
	o := readOptions(opts)
	o.nonBlocking = true
	return c.acquire(ctx, resource, o)
}

func readOptions(opts []AcquireOption) acquireOptions {
	var o acquireOptions
	for _, opt := range opts {
		opt(&o)
	}
	return o
}

func (c *Client) acquire(ctx context.Context, resource string, o acquireOptions) (*Lock, error) {
	if err := o.check(resource); err != nil {
		return nil, err
	}
	if o.renew && !o.hasExpire {
		o.expire = c.tuning.ScopeLease
	}
	if err := c.begin(resource); err != nil {
		return nil, err
	}
	defer c.done()

	a := acquisition{
		client:  c,
		options: &o,
		request: acquireRequest{Resource: resource, Owner: c.owner, Expire: o.expire.Seconds(), ID: rand.Text(), Limit: o.limit, Note: o.note},
		retries: backoff{start: c.tuning.BackoffStart, cap: c.tuning.BackoffCap},
		heard:   time.Now(),
	}
	if o.shared {
		a.request.Mode = "shared"
	}
	lock, err := a.run(ctx)
	if err != nil {
		a.abandon(ctx)
		return nil, err
	}
	return lock, nil
}

// acquisition is one lock on its way: one id, from the first request to the grant or to giving up.
type acquisition struct {
	client  *Client
	options *acquireOptions
	request acquireRequest
	retries backoff

	unsettled bool      // the server may know the id, or hear of it yet
	queued    bool      // it said so
	heard     time.Time // its last answer, or the start
	trouble   error     // the last failure, for the message
}

func (a *acquisition) run(ctx context.Context) (*Lock, error) {
	for {
		if err := a.ended(ctx); err != nil {
			return nil, err
		}
		began, sent := time.Now(), a.client.tuning.Clock.Now()
		var granted grantAnswer
		got, err := a.ask(ctx, &granted)
		var delay time.Duration
		switch {
		case err == nil && got == answered:
			a.heard, a.trouble = time.Now(), nil
			if ctx.Err() != nil || a.client.life.Err() != nil {
				continue // the end of the wait came first: the grant goes back
			}
			if lock := a.client.hold(a, sent, &granted); lock != nil {
				return lock, nil
			}
			// It ran out on its way here.
			delay = a.retries.after(began, nil)
			a.abandon(ctx)
			a.restart()
		case err == nil: // queued
			if a.options.nonBlocking {
				return nil, &LockedError{err: &Error{Code: ErrLocked, Resource: a.request.Resource}}
			}
			a.heard, a.trouble = time.Now(), nil
			a.queued = true
			a.retries.reset()
			if early := duration(a.request.Wait) - time.Since(began); early > a.client.tuning.BackoffStart {
				delay = min(early, a.client.tuning.BackoffStart) // this server holds no request for long
			}
		case errors.Is(err, ErrIDUsed):
			delay = a.retries.after(began, nil)
			a.heard = time.Now()
			a.restart()
		case errors.Is(err, ErrLocked) && !a.options.nonBlocking:
			delay = a.retries.after(began, nil)
			a.heard = time.Now()
		case isTransient(err):
			delay = a.retries.after(began, err)
			if ctx.Err() == nil && (a.trouble == nil || a.patience(ctx) > 0) {
				a.trouble = err // unless it is only that time ran out
			}
			a.client.logger.DebugContext(ctx, "lockserver: acquire is retried", "resource", a.request.Resource, "in", delay, "error", err)
		default:
			return nil, about(a.request.Resource, err)
		}
		pause(ctx, a.client.life, min(delay, a.patience(ctx)))
	}
}

// ask makes one request, which the server may hold for one hop.
func (a *acquisition) ask(ctx context.Context, granted *grantAnswer) (answer, error) {
	t := &a.client.tuning
	if !a.options.nonBlocking {
		wait := t.Hop
		if deadline, limited := ctx.Deadline(); limited {
			wait = max(min(wait, time.Until(deadline)), time.Millisecond)
		}
		a.request.Wait = wait.Seconds()
	}
	bound := min(duration(a.request.Wait)+t.AnswerTimeout, a.patience(ctx))

	before := a.unsettled
	a.unsettled = true
	got, err := a.client.attempt(ctx, bound, call{op: opAcquire, body: &a.request, fresh: a.retries.failed()}, granted)
	if err == nil && got == answered && granted.Token <= 0 {
		err = &Error{Code: ErrConnectionFailed, Status: 200, Message: "what answered is no Lockserver"}
	}
	if isRefused(err) {
		a.unsettled = before // an earlier request of this id may still arrive; this one is done with
	}
	return got, err
}

// patience returns how long the server may stay silent from now on.
func (a *acquisition) patience(ctx context.Context) time.Duration {
	limit := a.limit()
	if _, limited := ctx.Deadline(); limited {
		return 1<<63 - 1
	}
	return max(0, limit-time.Since(a.heard))
}

func (a *acquisition) limit() time.Duration {
	if a.queued {
		return a.client.tuning.SilenceQueued
	}
	return a.client.tuning.Silence
}

// ended returns an error when it is time to give up.
func (a *acquisition) ended(ctx context.Context) error {
	resource := a.request.Resource
	if ctx.Err() != nil {
		return gaveUp(ctx, resource, a.trouble)
	}
	if a.client.life.Err() != nil {
		return closedError(resource)
	}
	if a.patience(ctx) <= 0 {
		return &Error{Code: ErrConnectionFailed, Resource: resource, Message: fmt.Sprintf("no answer for %v", a.limit()), cause: a.trouble}
	}
	return nil
}

// restart makes it a new acquisition, because the id has ended.
func (a *acquisition) restart() {
	a.request.ID = rand.Text()
	a.unsettled, a.queued = false, false
}

// abandon has the server forget the id: a waiter leaves, a grant goes on to the next, and a request that is still on its way comes to
// nothing.
func (a *acquisition) abandon(ctx context.Context) {
	if !a.unsettled {
		return
	}
	c, request := a.client, releaseRequest{Resource: a.request.Resource, Owner: a.request.Owner, ID: a.request.ID}
	c.cleanup(ctx, func(own context.Context) {
		if _, err := c.sendRelease(own, request); err != nil && !errors.Is(err, ErrNotHeld) {
			c.logger.WarnContext(own, "lockserver: an acquisition could not be cancelled", "resource", request.Resource, "error", err)
		}
	})
}

// gaveUp is the error of a call whose context ended.
func gaveUp(ctx context.Context, resource string, trouble error) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); !errors.Is(cause, err) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	if trouble != nil {
		err = fmt.Errorf("%w (before that: %v)", err, trouble)
	}
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &Error{Code: ErrLockTimeout, Resource: resource, cause: err}
	}
	return fmt.Errorf("lockserver: %q: %w", resource, err)
}

// about adds the resource to an error that came from the transport.
func about(resource string, err error) error {
	var failure *Error
	if errors.As(err, &failure) && failure.Resource == "" {
		failure.Resource = resource
	}
	return err
}

// safeUntil returns when a lease can no longer be trusted: counted from the sending, as the server granted it no earlier, and with a
// margin for clocks that run at different speeds.
func safeUntil(sent tuning.Instant, granted *grantAnswer) tuning.Instant {
	lease := duration(*granted.ExpiresIn)
	return sent.Add(duration(granted.Waited) + lease - safetyMargin(lease))
}

// safetyMargin is how much earlier than the server its holder takes a lease to end.
func safetyMargin(lease time.Duration) time.Duration { return lease/100 + 2*time.Millisecond }
