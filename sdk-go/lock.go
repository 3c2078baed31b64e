package lockserver

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Lock is one granted lock. It is safe for concurrent use.
type Lock struct {
	client   *Client
	resource string
	id       string
	token    int64
	lease    time.Duration // as it was asked for, 0 for none
	renewed  bool
	asked    atomic.Bool // for its release, by whoever has the handle

	mu       sync.Mutex
	state    state
	beside   *Lock         // another that the client holds of the resource; guarded by the client
	done     chan struct{} // made when it is asked for
	err      error         // once lost
	leased   bool
	deadline instant            // if leased: the safe deadline
	watch    *time.Timer        // looks at the deadline
	stop     context.CancelFunc // ends the renewal that is on its way
	onLoss   func(error)
	sending  bool          // a release is on its way
	sent     chan struct{} // closed when it has ended; nil: nobody waits for that
	attempts int           // to release that may have had their effect
	result   releaseResult

	keeping // guarded by the keeper
}

type state int

const (
	held state = iota
	releasing
	released
	lost
)

// releaseResult is what the server said about a release.
type releaseResult struct{ answered, held bool }

// hold makes a lock of a grant, or returns nil if its safe deadline has passed already, the server took it back, or the client was
// closed meanwhile.
func (c *Client) hold(a *acquisition) *Lock {
	granted := &a.granted
	l := &Lock{
		client: c, resource: a.request.Resource, id: a.request.ID, token: granted.Token,
		lease: a.options.expire, renewed: a.options.renew,
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if granted.ExpiresIn != nil {
		l.leased, l.deadline = true, safeUntil(a.sent, granted)
		if l.overdue() {
			return nil
		}
	}
	if !c.keep(l) {
		return nil
	}
	if l.leased {
		if l.renewed {
			c.keeper.keep(l, a.on)
		} else {
			c.keeper.let(l, a.on)
		}
		l.watchDeadline()
	}
	return l
}

// Resource returns what is locked.
func (l *Lock) Resource() string { return l.resource }

// Token returns the fencing token: of two exclusive grants of one resource, the later has the higher one. Hand it to whatever the lock
// protects, so that it can refuse a holder that comes too late.
func (l *Lock) Token() int64 { return l.token }

// String names the lock by resource and token.
func (l *Lock) String() string {
	return fmt.Sprintf("lockserver.Lock(%q, token %d)", l.resource, l.token)
}

// GoString is the same as String.
func (l *Lock) GoString() string { return l.String() }

// Expiry returns the safe deadline: when, unless it is renewed before, the lock can no longer be trusted. That is a little earlier than
// the server ends the lease. It is zero for a lock without a lease.
func (l *Lock) Expiry() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.leased {
		return time.Time{}
	}
	now := l.client.clock.now()
	return time.Unix(0, int64(now.wall+l.deadline.until(now)))
}

// Done returns a channel that is closed when the lock is lost (Err then says why) or released (Err then is nil).
func (l *Lock) Done() <-chan struct{} {
	l.checkDeadline()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.done == nil {
		l.done = make(chan struct{})
		if l.state == lost || l.state == released {
			close(l.done)
		}
	}
	return l.done
}

// end makes it lost or released. l.mu is held.
func (l *Lock) end(as state) {
	l.state = as
	if l.done != nil {
		close(l.done)
	}
}

// Err returns nil while the lock is held and after it was released, and a [*LockLostError] (ErrLockLost) once it is lost: when the
// server says so, or at the safe deadline, whichever comes first. It looks at the clocks, so that it is right too after the process or
// the machine slept. A lock that is lost stays so.
func (l *Lock) Err() error {
	l.checkDeadline()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// Renew makes the lease last for d from now on, or for its original length if d is 0; it never shortens it. For d the same is allowed
// as for [Expire]. A lock without a lease stays without, but Renew finds out whether it is still held. It retries until ctx ends, and
// if ctx has no deadline at most for 30 s without any answer (ErrConnectionFailed). A lock that is lost is ErrLockLost, one that was
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

// Release ends renewal and gives the lock back. It returns true when that freed it, and false when it was no longer held; called again
// it returns the same. An error means that the server did not answer, or refused: the lock may then still be held, is no longer renewed,
// and Release can be called again.
//
// Release is a clean-up: it takes place even if ctx has ended already, and is bounded by 5 s. If ctx ends on the way, Release
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
func (l *Lock) release(ctx context.Context) (releaseResult, error) {
	var began time.Time
	l.asked.Store(true)
	l.checkDeadline()
	l.mu.Lock()
	for l.sending {
		if l.sent == nil {
			l.sent = make(chan struct{})
		}
		if began.IsZero() {
			began = time.Now()
		}
		other := l.sent
		l.mu.Unlock()
		if !l.client.await(ctx, other) {
			return releaseResult{}, gaveUp(ctx, &opRelease, l.resource, began, "")
		}
		l.mu.Lock()
	}
	if l.result.answered {
		defer l.mu.Unlock()
		return l.result, nil
	}
	if l.state == held {
		l.state = releasing
	}
	l.stopTimers()
	l.sending = true
	l.mu.Unlock()

	r := l.client.newRelease(releaseRequest{Resource: l.resource, Owner: l.client.owner, Token: l.token})
	if !l.client.cleanup(ctx, &r.call, func(own context.Context) { r.got, r.err = l.giveBack(own, r) }) {
		return releaseResult{}, gaveUp(ctx, &opRelease, l.resource, r.began, "")
	}
	return r.got, r.err
}

// giveBack sends the release and makes what comes of it the lock's state.
func (l *Lock) giveBack(ctx context.Context, r *release) (releaseResult, error) {
	attempts, err := r.send(ctx)
	got := releaseResult{answered: true, held: true}
	if failure, ok := errors.AsType[*Error](err); ok && failure.Code == ErrNotHeld {
		l.mu.Lock()
		// The answer to an earlier attempt was lost, and the server tells of nothing else that ended the lock: that attempt did it.
		got.held = l.attempts+attempts > 0 && l.state == releasing && !l.overdue() && !failure.tellsLoss()
		l.mu.Unlock()
		if !got.held {
			l.loseByServer(failure)
		}
		err = nil
	}
	switch {
	case !l.leased:
	case err == nil:
		l.client.keeper.finish(l)
	default:
		l.client.keeper.leave(l)
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	if l.sending = false; l.sent != nil {
		close(l.sent)
		l.sent = nil
	}
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
	l.result = got
	if l.state == releasing {
		l.end(released)
		l.client.forget(l)
	}
	return got, nil
}

func (l *Lock) lossReason() string {
	if loss, ok := errors.AsType[*LockLostError](l.Err()); ok {
		return loss.Reason
	}
	return ReasonUnknown
}
