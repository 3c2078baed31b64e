package lockserver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"
)

// Acquire waits until the lock is granted, in order of arrival, for as long as ctx allows. Lost connections and restarts of the server
// are survived meanwhile, and the place in the queue with them; only 30 s without any answer (60 s once queued) are an
// ErrConnectionFailed, and that only if ctx has no deadline.
//
// Without [Expire] or [Renewed] the lock is held until it is released: if this process dies first, it stays held until an operator
// releases it by force. [Client.WithLock] has no such end.
//
// When ctx ends, Acquire tells the server and returns an error that satisfies errors.Is for ctx.Err(), at most a second later. If it
// was a deadline, the error is a [*LockTimeoutError] (ErrLockTimeout), which says what stood in the way. Nothing stays held, even if
// the grant was already on its way.
func (c *Client) Acquire(ctx context.Context, resource string, opts ...AcquireOption) (*Lock, error) {
	return c.newAcquisition(opts).acquire(ctx, resource)
}

// TryAcquire takes the lock if it is free, and fails with ErrLocked, a [*LockedError], if it is not. It retries and gives up as
// [Client.Acquire] does.
func (c *Client) TryAcquire(ctx context.Context, resource string, opts ...AcquireOption) (*Lock, error) {
	a := c.newAcquisition(opts)
	a.options.nonBlocking = true
	return a.acquire(ctx, resource)
}

func (c *Client) newAcquisition(opts []AcquireOption) *acquisition {
	a := &acquisition{client: c}
	for _, opt := range opts {
		opt(&a.options)
	}
	return a
}

func (a *acquisition) acquire(ctx context.Context, resource string) (*Lock, error) {
	c, o := a.client, &a.options
	if err := o.check(resource); err != nil {
		return nil, err
	}
	if o.renew && !o.hasExpire {
		o.expire = figureScopeLease
	}
	if err := c.begin(resource); err != nil {
		return nil, err
	}
	defer c.done()
	if o.hasExpire && !o.renew {
		c.keeper.expect(1)
		defer c.keeper.expect(-1)
	}

	a.request = acquireRequest{Resource: resource, Owner: c.owner, Expire: o.expire.Seconds(), ID: rand.Text(), Limit: o.limit, Note: o.note}
	if o.shared {
		a.request.Mode = "shared"
	}
	a.call = c.newCall(&opAcquire, resource, c.bounds.Silence, a.next)
	a.early = a.call.backoff
	if deadline, limited := ctx.Deadline(); limited {
		left := deadline.Sub(a.call.began)
		a.deadline, a.look = deadline, deadline.Add(-min(lastLook, left/lastLookPart))
	}
	lock, err := a.run(ctx)
	if err != nil {
		a.abandon(ctx)
		return nil, a.explain(err)
	}
	return lock, nil
}

// acquisition is one lock on its way: one id, from the first request to the grant or to giving up.
type acquisition struct {
	client  *Client
	options acquireOptions
	request acquireRequest
	call    call    // of all requests
	early   backoff // between those that waited for nothing

	deadline time.Time // zero: none
	look     time.Time // until when to wait at first

	on       any     // the session that the answer came over
	sent     instant // the last attempt
	granted  grantAnswer
	blockers *LockedError // who stood in the way, as far as was heard
}

// Shortly before a deadline the server is asked who stands in the way, so that the error can tell.
const (
	lastLook     = 250 * time.Millisecond
	lastLookPart = 5
)

// shortestHop is how long a request lasts at least that waited for something.
const shortestHop = 50 * time.Millisecond

// next makes the next request, which the server may hold for all the time that is left.
func (a *acquisition) next(now time.Time) attempt {
	wait := time.Duration(0)
	switch {
	case a.options.nonBlocking:
	case a.deadline.IsZero():
		wait = longestWait
	case now.Before(a.look):
		wait = max(a.look.Sub(now), time.Millisecond)
	default:
		wait = max(a.deadline.Sub(now), time.Millisecond)
	}
	a.sent = a.client.clock.now()
	a.granted.empty()
	return attempt{request: &a.request, wait: wait, bound: a.client.bounds.Answer}
}

// longestWait is the most that the server can be asked for.
const longestWait = 315360000 * time.Second

func (a *acquisition) run(ctx context.Context) (*Lock, error) {
	for {
		began := time.Now()
		err := a.call.run(ctx, &a.granted)
		var delay time.Duration
		var locked *LockedError
		switch {
		case err == nil && a.granted.Token != 0:
			a.on = a.call.on
			ended := ctx.Err() != nil || a.client.life.Err() != nil
			if !ended {
				if lock := a.client.hold(a); lock != nil {
					return lock, nil
				}
			}
			a.answered(nil)
			if ended {
				continue // the end of the wait came first: the grant goes back
			}
			// It ran out, or was taken back, on its way here.
			delay = a.call.backoff.after(0)
			a.abandon(ctx)
			a.restart()
		case err == nil: // queued
			if a.options.nonBlocking {
				locked := a.granted.blockers()
				locked.err = &Error{Code: ErrLocked, Resource: a.request.Resource}
				return nil, locked
			}
			a.answered(a.granted.locked())
			a.call.limit = a.client.bounds.SilenceQueued
			a.call.backoff.reset()
			if time.Since(began) < shortestHop {
				delay = a.early.after(0) // this server holds no request for long, and must not be stormed
			} else {
				a.early.reset()
			}
		case errors.Is(err, ErrIDUsed):
			delay = a.call.backoff.after(0)
			a.answered(nil)
			a.restart()
		case errors.As(err, &locked) && !a.options.nonBlocking:
			delay = a.call.backoff.after(0)
			a.answered(locked)
		default:
			return nil, err
		}
		a.call.pause(ctx, delay)
	}
}

// answered notes that the server did, and whom it named as holders.
func (a *acquisition) answered(by *LockedError) {
	a.call.heard, a.call.obstacle = time.Now(), ""
	if by == nil {
		return
	}
	a.call.obstacle = by.obstacle(a.client.owner)
	if len(by.Holders) > 0 {
		a.blockers = by
	}
}

// locked returns what an answer to a queued request says about the holders.
func (g *grantAnswer) locked() *LockedError {
	locked := g.blockers()
	if len(locked.Holders) == 0 {
		locked.err = &Error{short: fmt.Sprintf("it waits at place %d", g.Position)}
	}
	return locked
}

// obstacle says in a few words who holds a resource that this owner asked for.
func (e *LockedError) obstacle(owner string) string {
	if len(e.Holders) == 0 {
		return e.failure().short
	}
	holder, self := e.Holders[0], ""
	for _, h := range e.Holders {
		if h.Owner == owner {
			holder, self = h, ", which is this very client"
			break
		}
	}
	text := fmt.Sprintf("held by %s for %s%s", holder.Owner, roughly(holder.HeldFor), self)
	switch others := e.HoldersTotal - 1; {
	case others == 1:
		text += " and 1 other"
	case others > 1:
		text += fmt.Sprintf(" and %d others", others)
	}
	return text
}

// explain adds to a time-out who held the resource.
func (a *acquisition) explain(err error) error {
	var failure *Error
	if !errors.As(err, &failure) || failure.Code != ErrLockTimeout {
		return err
	}
	timeout := &LockTimeoutError{err: failure}
	if by := a.blockers; by != nil {
		timeout.Holders, timeout.HoldersTotal, timeout.Waiters = by.Holders, by.HoldersTotal, by.Waiters
	}
	return timeout
}

// restart makes it a new acquisition, because the id has ended.
func (a *acquisition) restart() {
	a.request.ID = rand.Text()
	a.call.tried, a.call.limit = 0, a.client.bounds.Silence
}

// abandon has the server forget the id, if it may know it: a waiter leaves, a grant goes on to the next, and a request that is still on
// its way comes to nothing.
func (a *acquisition) abandon(ctx context.Context) {
	if a.call.tried == 0 {
		return
	}
	c, session, resource := a.client, a.client.transport.session(), a.request.Resource
	r := c.newRelease(releaseRequest{Resource: resource, Owner: a.request.Owner, ID: a.request.ID})
	c.cleanup(ctx, &r.call, func(own context.Context) {
		if _, err := r.send(own); err != nil && !errors.Is(err, ErrNotHeld) {
			c.keeper.spoil(session)
			c.logger.WarnContext(own, "lockserver: an acquisition could not be cancelled", "resource", resource, "error", err)
		}
	})
}
