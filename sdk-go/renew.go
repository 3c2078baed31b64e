package lockserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/lockserver/lockserver/sdk-go/internal/tuning"
)

// Renew makes the lease last for d from now on, or for its original length where d is 0; it never shortens it. For d the same is allowed
// as for [Expire]. A lock without a lease stays without, but Renew finds out whether it is still held. It retries until ctx ends, and
// where ctx has no deadline at most for 30 s without any answer (ErrConnectionFailed). A lock that is lost is ErrLockLost, one that was
// released is ErrNotHeld.
func (l *Lock) Renew(ctx context.Context, d time.Duration) error {
	if d != 0 && !usableLease(d) {
		return unusableLease(l.resource, d)
	}
	if err := l.usable(); err != nil {
		return err // this counts for more than that the client is closed
	}
	if err := l.client.begin(l.resource); err != nil {
		return err
	}
	defer l.client.done()

	_, limited := ctx.Deadline()
	start := time.Now()
	retries := backoff{start: l.client.tuning.BackoffStart, cap: l.client.tuning.BackoffCap}
	var trouble error
	for {
		if err := l.usable(); err != nil {
			return err
		}
		patience := time.Duration(1<<63 - 1)
		if !limited {
			patience = l.client.tuning.Silence - time.Since(start)
		}
		switch {
		case ctx.Err() != nil:
			return gaveUp(ctx, l.resource, trouble)
		case l.client.life.Err() != nil:
			return closedError(l.resource)
		case patience <= 0:
			return &Error{
				Code: ErrConnectionFailed, Resource: l.resource,
				Message: fmt.Sprintf("no answer for %v", l.client.tuning.Silence), cause: trouble,
			}
		}
		began := time.Now()
		err := l.renewOnce(ctx, d, retries.failed())
		if !isTransient(err) {
			return err
		}
		if ctx.Err() == nil {
			trouble = err
		}
		l.pauseUntilLost(ctx, min(retries.after(began, err), patience))
	}
}

// renewInBackground renews until the server confirms it, the lock ends, or the lease does.
func (l *Lock) renewInBackground() {
	if l.client.begin(l.resource) != nil {
		return // closing: whoever closes declares the lock lost
	}
	defer l.client.done()
	retries := backoff{start: l.client.tuning.BackoffStart, cap: min(l.client.tuning.BackoffCap, l.lease/10)}
	for l.usable() == nil && l.renewing.Err() == nil {
		began := time.Now()
		err := l.renewOnce(l.renewing, l.lease, retries.failed())
		if err == nil {
			l.scheduleRenewal(began)
			return
		}
		if l.usable() != nil || l.renewing.Err() != nil {
			return
		}
		l.client.logger.Warn("lockserver: renewal failed and is retried", "resource", l.resource, "token", l.token, "error", err)
		l.pauseUntilLost(l.renewing, retries.after(began, err))
	}
}

func (l *Lock) scheduleRenewal(last time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == held && l.renewing.Err() == nil {
		l.renewal.Reset(time.Until(last.Add(l.lease / 3)))
	}
}

// renewOnce makes one attempt.
func (l *Lock) renewOnce(ctx context.Context, d time.Duration, fresh bool) error {
	sent := l.client.tuning.Clock.Now()
	request := renewRequest{Resource: l.resource, Owner: l.client.owner, Token: l.token, Expire: d.Seconds()}
	var granted grantAnswer
	_, err := l.client.attempt(ctx, l.renewalBound(sent), call{op: opRenew, body: &request, fresh: fresh}, &granted)
	var failure *Error
	if errors.As(err, &failure) && failure.Code == ErrNotHeld {
		if err := l.usable(); err != nil {
			return err // a release overtook this renewal: it is what ended the lock
		}
		l.loseByServer(failure)
		return l.usable()
	}
	if err != nil {
		return about(l.resource, err)
	}
	l.confirm(sent, &granted)
	return l.usable()
}

// renewalBound leaves time for a second and a third attempt within the lease, and ends with it.
func (l *Lock) renewalBound(now tuning.Instant) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	bound := l.client.tuning.AnswerTimeout
	if l.leased {
		bound = min(bound, l.deadline.Until(now))
	}
	if l.lease > 0 {
		bound = min(bound, l.lease/3)
	}
	return max(bound, time.Millisecond)
}

// confirm moves the safe deadline, never backwards.
func (l *Lock) confirm(sent tuning.Instant, granted *grantAnswer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != held || !l.leased || granted.ExpiresIn == nil {
		return
	}
	l.deadline = l.deadline.Later(safeUntil(sent, granted))
	l.watchDeadline()
}

// usable returns why the lock can no longer be renewed, or nil.
func (l *Lock) usable() error {
	l.checkDeadline()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch l.state {
	case lost:
		return l.err
	case released, releasing:
		return &Error{Code: ErrNotHeld, Resource: l.resource, Reason: ReasonReleased, Message: "it was released before"}
	}
	return nil
}

func (l *Lock) pauseUntilLost(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-l.client.life.Done():
	case <-l.done:
	}
}
