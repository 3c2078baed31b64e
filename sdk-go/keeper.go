package lockserver

import (
	"context"
	"errors"
	"time"
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
	_, err := l.renew(ctx, d, false)
	return err
}

// renewInBackground renews until the server confirms it, the lock ends, or the lease does.
func (l *Lock) renewInBackground() {
	if l.client.begin(l.resource) != nil {
		return // closing: whoever closes declares the lock lost
	}
	defer l.client.done()
	began, err := l.renew(l.renewing, l.lease, true)
	if err != nil {
		return // the lock has ended, or its client
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == held && l.renewing.Err() == nil {
		l.renewal.Reset(time.Until(began.Add(l.lease / figureRenewPart)))
	}
}

// renew returns when the attempt that succeeded began.
func (l *Lock) renew(ctx context.Context, d time.Duration, background bool) (began time.Time, err error) {
	request := renewRequest{Resource: l.resource, Owner: l.client.owner, Token: l.token, Expire: d.Seconds()}
	var sent instant
	var granted grantAnswer
	c := l.client.newCall(&opRenew, l.resource, l.client.bounds.Silence, func() (any, time.Duration) {
		began, sent, granted = time.Now(), l.client.clock.now(), grantAnswer{}
		return &request, l.renewalBound(sent)
	})
	c.over, c.ended = l.usable, l.done
	if background {
		c.stubborn, c.limit = true, 1<<63-1 // until the lease ends
		c.backoff.most = min(c.backoff.most, l.lease/10)
	}
	err = c.run(ctx, &granted)
	var failure *Error
	switch {
	case err == nil:
		l.confirm(sent, &granted)
	case errors.As(err, &failure) && failure.Code == ErrNotHeld && failure.Status != 0:
		if err := l.usable(); err != nil {
			return began, err // a release overtook this renewal: it is what ended the lock
		}
		l.loseByServer(failure)
	default:
		return began, err
	}
	return began, l.usable()
}

// renewalBound leaves time for a second and a third attempt within the lease, and ends with it.
func (l *Lock) renewalBound(now instant) time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	bound := min(l.client.bounds.Answer, figureRenewAttempt)
	if l.leased {
		bound = min(bound, l.deadline.until(now))
	}
	if l.lease > 0 {
		bound = min(bound, l.lease/figureRenewPart)
	}
	return max(bound, time.Millisecond)
}

// confirm moves the safe deadline, never backwards.
func (l *Lock) confirm(sent instant, granted *grantAnswer) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state != held || !l.leased || granted.ExpiresIn == nil {
		return
	}
	l.deadline = l.deadline.later(safeUntil(sent, granted))
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
