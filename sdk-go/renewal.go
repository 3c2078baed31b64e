package lockserver

import (
	"context"
	"errors"
	"time"
)

// renewInBackground renews until the server confirms it, the lock ends, or the lease does.
func (l *Lock) renewInBackground() {
	if l.client.begin(l.resource) != nil {
		return // closing: whoever closes declares the lock lost
	}
	defer l.client.done()
	ctx, cancel := context.WithCancel(l.client.life)
	defer cancel()
	l.mu.Lock()
	l.stop = cancel
	ended := l.state != held
	l.mu.Unlock()
	if ended {
		return
	}
	if began, err := l.renew(ctx, l.lease, true); err == nil { // else the lock has ended, or its client
		l.client.keeper.again(l, began)
	}
}

// renew returns when the attempt that succeeded began. It names the grant by its id too, which has a session keep it alive and tell of
// its loss from then on.
func (l *Lock) renew(ctx context.Context, d time.Duration, background bool) (began time.Time, err error) {
	request := renewRequest{Resource: l.resource, Owner: l.client.owner, Token: l.token, ID: l.id, Expire: d.Seconds()}
	var sent instant
	var granted grantAnswer
	c := l.client.newCall(&opRenew, l.resource, l.client.bounds.Silence, func(now time.Time) attempt {
		began, sent = now, l.client.clock.now()
		granted.empty()
		return attempt{request: &request, bound: l.renewalBound(sent)}
	})
	c.over, c.ended = l.usable, l.Done()
	if background {
		c.stubborn, c.limit = true, 1<<63-1 // until the lease ends
		c.backoff.most = min(c.backoff.most, l.lease/10)
	}
	err = c.run(ctx, &granted)
	var failure *Error
	switch {
	case err == nil:
		l.confirm(sent, &granted)
		l.client.keeper.moved(l, c.on, d > l.lease)
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
