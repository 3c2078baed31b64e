package lockserver

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Release ends renewal and gives the lock back. It returns true when that freed it, and false when it was no longer held; called again
// it returns the same. An error means that the server did not answer, or refused: the lock may then still be held, is no longer renewed,
// and Release can be called again.
//
// Release is a clean-up: it takes place also where ctx has ended already, and is bounded by 5 s. Where ctx ends on the way, Release
// returns at most a second later while the attempts go on.
func (l *Lock) Release(ctx context.Context) (bool, error) {
	got, err := l.release(ctx)
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.state == lost {
		return false, nil
	}
	return err == nil && got.held, err
}

// release is Release, except that a lock that ran out here is given back all the same, and the server's word on it is returned.
func (l *Lock) release(ctx context.Context) (outcome, error) {
	l.checkDeadline()
	l.mu.Lock()
	for l.sending != nil {
		other := l.sending
		l.mu.Unlock()
		if !l.client.await(ctx, other) {
			return outcome{}, gaveUp(ctx, l.resource, nil)
		}
		l.mu.Lock()
	}
	if l.outcome != nil {
		defer l.mu.Unlock()
		return *l.outcome, nil
	}
	if l.state == held {
		l.state = releasing
	}
	l.stopTimers()
	l.sending = make(chan struct{})
	l.mu.Unlock()

	var got outcome
	var err error
	if !l.client.cleanup(ctx, func(own context.Context) { got, err = l.giveBack(own) }) {
		return outcome{}, gaveUp(ctx, l.resource, nil)
	}
	return got, err
}

// giveBack sends the release and makes what comes of it the lock's state.
func (l *Lock) giveBack(ctx context.Context) (outcome, error) {
	attempts, err := l.client.sendRelease(ctx, releaseRequest{Resource: l.resource, Owner: l.client.owner, Token: l.token})
	var failure *Error
	got := outcome{held: true}
	switch {
	case errors.As(err, &failure) && failure.Code == ErrNotHeld:
		l.mu.Lock()
		// The answer to an earlier attempt was lost, and the server tells of nothing else that ended the lock: that attempt did it.
		got.held = l.attempts+attempts > 1 && l.state == releasing && !l.overdue() && !failure.tellsLoss()
		l.mu.Unlock()
		if !got.held {
			l.loseByServer(failure)
		}
		err = nil
	case err != nil:
		err = about(l.resource, err)
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	close(l.sending)
	l.sending = nil
	l.attempts += attempts
	if err != nil {
		if l.state == releasing {
			l.state = held
			if l.leased {
				l.watchDeadline()
			}
		}
		return got, err
	}
	l.outcome = &got
	if l.state == releasing {
		l.state = released
		close(l.done)
		l.client.forget(l)
	}
	return got, nil
}

// sendRelease sends a release that names its grant, and so does no harm when it arrives twice, until the server answers or the clean-up
// time-out ends. It returns how many attempts may have had their effect.
func (c *Client) sendRelease(ctx context.Context, request releaseRequest) (attempts int, err error) {
	deadline := time.Now().Add(c.tuning.CleanupTimeout)
	retries := backoff{start: c.tuning.BackoffStart, cap: c.tuning.BackoffCap}
	for {
		began := time.Now()
		// A third of the time, so that one connection that has gone silent leaves time for another.
		bound := min(c.tuning.CleanupTimeout/3, deadline.Sub(began))
		attempt, cancel := context.WithTimeout(ctx, bound)
		var ignored struct{}
		_, err = c.transport.do(attempt, call{op: opRelease, body: &request, fresh: retries.failed()}, &ignored)
		err = c.explain(ctx, attempt, bound, err)
		cancel()
		if !isUnsent(err) && !errors.Is(err, ErrDraining) { // a server that drains says that it did nothing
			attempts++
		}
		if !isTransient(err) {
			return attempts, err
		}
		left := time.Until(deadline)
		pause(ctx, ctx, min(retries.after(began, err), left))
		if time.Until(deadline) <= 0 {
			return attempts, &Error{Code: ErrConnectionFailed, Message: fmt.Sprintf("no answer within %v", c.tuning.CleanupTimeout), cause: err}
		}
	}
}

// Release gives back what this client holds of the resource: the one [Lock] of it that this client acquired and still holds, or, if there
// is none, whatever its owner holds there, which is how a program can free a lock of an earlier run under the same owner. Where it holds
// several, ErrTokenRequired asks for [Lock.Release]. What is not held is ErrNotHeld. It is bounded and ends as Lock.Release does; by
// owner it is sent once, so that an ErrConnectionFailed leaves open what happened.
func (c *Client) Release(ctx context.Context, resource string) error {
	c.mu.Lock()
	mine := c.held[resource]
	several := mine != nil && mine.next != nil
	c.mu.Unlock()
	if several {
		return &Error{Code: ErrTokenRequired, Resource: resource, Message: "this client holds it several times: release the lock that is meant"}
	}
	if mine == nil {
		return c.releaseByOwner(ctx, resource)
	}
	wasHeld, err := mine.Release(ctx)
	if err == nil && !wasHeld {
		err = &Error{Code: ErrNotHeld, Resource: resource, Reason: mine.lossReason(), Message: "it was lost before"}
	}
	return err
}

func (l *Lock) lossReason() string {
	var loss *LockLostError
	if errors.As(l.Err(), &loss) {
		return loss.Reason
	}
	return ReasonUnknown
}

func (c *Client) releaseByOwner(ctx context.Context, resource string) error {
	if err := (&acquireOptions{}).check(resource); err != nil {
		return err
	}
	if err := c.begin(resource); err != nil {
		return err
	}
	defer c.done()
	var err error
	if !c.cleanup(ctx, func(own context.Context) {
		bounded, cancel := context.WithTimeout(own, c.tuning.CleanupTimeout)
		defer cancel()
		request := releaseRequest{Resource: resource, Owner: c.owner}
		err = c.once(bounded, call{op: opRelease, body: &request}, &struct{}{})
		err = c.explain(own, bounded, c.tuning.CleanupTimeout, err)
	}) {
		return gaveUp(ctx, resource, nil)
	}
	return about(resource, err)
}

// once makes a call that must not be repeated: it is retried only while it certainly never left.
func (c *Client) once(ctx context.Context, what call, out any) error {
	retries := backoff{start: c.tuning.BackoffStart, cap: c.tuning.BackoffCap}
	for {
		began := time.Now()
		_, err := c.transport.do(ctx, what, out)
		if !isUnsent(err) || !isTransient(err) || ctx.Err() != nil {
			return err
		}
		pause(ctx, ctx, retries.after(began, err))
		if ctx.Err() != nil {
			return err
		}
	}
}
