package lockserver

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/lockserver/lockserver/sdk-go/internal/tuning"
)

// Lock is one granted lock. It is safe for concurrent use.
type Lock struct {
	client   *Client
	resource string
	token    int64
	lease    time.Duration // as it was asked for, 0 for none
	renewed  bool
	done     chan struct{}

	prev, next *Lock // in the client's list of the resource; guarded by the client

	mu       sync.Mutex
	state    state
	err      error // once lost
	leased   bool
	deadline tuning.Instant // if leased: the safe deadline
	watch    *time.Timer    // looks at the deadline
	renewal  *time.Timer    // starts the next renewal
	renewing context.Context
	stop     context.CancelFunc // ends renewal
	onLoss   func(error)
	sending  chan struct{} // closed when the release that is on its way has ended
	attempts int           // to release that may have had their effect
	outcome  *outcome      // of the release, once the server answered
}

type state int

const (
	held state = iota
	releasing
	released
	lost
)

// outcome is what the server said about a release.
type outcome struct{ held bool }

// hold makes a lock of a grant, or returns nil where its safe deadline has passed already, or the client was closed meanwhile.
func (c *Client) hold(a *acquisition, sent tuning.Instant, granted *grantAnswer) *Lock {
	l := &Lock{
		client: c, resource: a.request.Resource, token: granted.Token,
		lease: a.options.expire, renewed: a.options.renew, done: make(chan struct{}),
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if granted.ExpiresIn != nil {
		l.leased, l.deadline = true, safeUntil(sent, granted)
		if l.overdue() {
			return nil
		}
	}
	if !c.keep(l) {
		return nil
	}
	if l.leased {
		if l.renewed {
			l.renewing, l.stop = context.WithCancel(c.life)
			l.renewal = time.AfterFunc(l.lease/3, l.renewInBackground)
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
	now := l.client.tuning.Clock.Now()
	return time.Unix(0, int64(now.Wall+l.deadline.Until(now)))
}

// Done returns a channel that is closed when the lock is lost (Err then says why) or released (Err then is nil).
func (l *Lock) Done() <-chan struct{} {
	l.checkDeadline()
	return l.done
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

// overdue tells whether the safe deadline has passed on either clock.
func (l *Lock) overdue() bool { return l.leased && l.deadline.Until(l.client.tuning.Clock.Now()) <= 0 }

// watchDeadline makes checkDeadline run at the deadline. It looks more often than that, because a clock that is set, or a machine that
// was suspended, moves the deadline without any timer noticing.
func (l *Lock) watchDeadline() {
	next := min(l.deadline.Until(l.client.tuning.Clock.Now()), l.client.tuning.WatchTick)
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

// loseByServer is lose where the server said so.
func (l *Lock) loseByServer(failure *Error) {
	l.mu.Lock()
	if l.state == released {
		l.mu.Unlock()
		return // a release that was answered stays what it was
	}
	l.outcome = &outcome{held: false}
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
