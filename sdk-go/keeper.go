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
	c := l.client.newCall(&opRenew, l.resource, l.client.bounds.Silence, func() attempt {
		began, sent, granted = time.Now(), l.client.clock.now(), newGrant()
		return attempt{request: &request, bound: l.renewalBound(sent)}
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

// overdue tells whether the safe deadline has passed on either clock.
func (l *Lock) overdue() bool { return l.leased && l.deadline.until(l.client.clock.now()) <= 0 }

// watchDeadline makes checkDeadline run at the deadline. It looks more often than that, because a clock that is set, or a machine that
// was suspended, moves the deadline without any timer noticing.
func (l *Lock) watchDeadline() {
	next := min(l.deadline.until(l.client.clock.now()), l.client.bounds.Tick)
	if l.watch == nil {
		l.watch = time.AfterFunc(next, l.checkDeadline)
	} else {
		l.watch.Reset(next)
	}
}

// checkDeadline finds out whether the lease ran out.
func (l *Lock) checkDeadline() {
	l.mu.Lock()
	if l.state != held || !l.leased {
		l.mu.Unlock()
		return
	}
	if !l.overdue() {
		l.watchDeadline()
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	l.lose(ReasonExpired, "the lease ran out before it was renewed")
}

// lose ends the lock as lost, unless it has ended. A reason that came from the server is also the answer to a later release.
func (l *Lock) lose(reason, message string) {
	l.client.beginCleanup()
	defer l.client.done()
	l.mu.Lock()
	if l.state == lost || l.state == released {
		l.mu.Unlock()
		return
	}
	l.state, l.err = lost, newLockLost(l.resource, l.token, reason, message)
	l.stopTimers()
	close(l.done)
	told, err := l.onLoss, l.err
	l.mu.Unlock()

	l.client.forget(l)
	if told != nil {
		told(err)
	}
	l.client.logger.Warn("lockserver: lock lost", "resource", l.resource, "token", l.token, "reason", reason)
}

// loseByServer is lose if the server said so.
func (l *Lock) loseByServer(failure *Error) {
	l.mu.Lock()
	if l.state == released {
		l.mu.Unlock()
		return // a release that was answered stays what it was
	}
	l.result = &releaseResult{held: false}
	l.mu.Unlock()
	l.lose(failure.Reason, "the server says that it is not held any more: "+failure.Reason)
}

func (l *Lock) stopTimers() {
	if l.watch != nil {
		l.watch.Stop()
	}
	if l.renewal != nil {
		l.renewal.Stop()
	}
	if l.stop != nil {
		l.stop()
	}
}

// notifyLoss has f called when the lock is lost, at once if it is already.
func (l *Lock) notifyLoss(f func(error)) {
	l.mu.Lock()
	l.onLoss = f
	err := l.err
	l.mu.Unlock()
	if err != nil {
		f(err)
	}
}
