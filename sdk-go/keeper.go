package lockserver

import (
	"sync"
	"time"

	"github.com/lockserver/lockserver/sdk-go/internal/fault"
)

// keeper renews the leases of a client that are to be renewed. Where a session carries them and no others, one keepalive renews all of
// them at once; else each is renewed by itself.
type keeper struct {
	client *Client

	mu     sync.Mutex
	kept   map[*Lock]struct{}
	others map[int64]any // by token: leases that no keepalive must renew, with the session it would renew them on
	coming int           // acquisitions that may become such
	spoilt any           // a session that may have a lease of which nobody knows
	timer  *time.Timer   // runs renew
	next   time.Time     // when it does; zero: not at all
}

// keeping is what the keeper notes of a lock.
type keeping struct {
	on     any       // the session that it was acquired on, or renewed by id
	due    time.Time // when it is to be renewed
	busy   bool      // it is being renewed
	single bool      // and next by itself, as a keepalive failed
	over   bool      // the server holds it no longer
}

func newKeeper(c *Client) *keeper {
	return &keeper{client: c, kept: map[*Lock]struct{}{}, others: map[int64]any{}}
}

// keep begins to renew a lock that was granted on a session, or on none.
func (k *keeper) keep(l *Lock, on any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.kept[l] = struct{}{}
	l.on, l.due = on, time.Now().Add(l.lease/figureRenewPart)
	k.wake(l.due)
}

// let takes note of a lease that is not to be renewed.
func (k *keeper) let(l *Lock, on any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l.on = on
	k.note(l)
}

// note has no keepalive renew a lease, unless it or its session has ended. k.mu is held.
func (k *keeper) note(l *Lock) {
	if l.on != nil && !l.over && l.on == k.client.transport.session() { // whose end left will tell
		k.others[l.token] = l.on
	}
}

// drop ends the renewal of a lock.
func (k *keeper) drop(l *Lock) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.kept, l)
}

// leave is drop for a lock that the server may still hold.
func (k *keeper) leave(l *Lock) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.kept, l)
	k.note(l)
}

// finish forgets a lease that was released, or found to have ended.
func (k *keeper) finish(l *Lock) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l.over = true
	delete(k.others, l.token)
}

// gone forgets a lease that the server holds no longer.
func (k *keeper) gone(token int64) {
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.others, token)
}

// expect counts acquisitions that may become leases which are not to be renewed.
func (k *keeper) expect(n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.coming += n
}

// spoil notes that the session may have a lease of which nobody knows, as an acquisition could not be cancelled.
func (k *keeper) spoil(session any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.spoilt = session
}

// moved notes that a lock was renewed by id on a session, or on none, and perhaps for longer than is to be done again.
func (k *keeper) moved(l *Lock, on any, longer bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if l.on, l.single = on, false; !l.leased {
		return
	}
	if _, other := k.others[l.token]; other || longer || !l.renewed {
		delete(k.others, l.token)
		k.note(l)
	}
}

// again has a lock renewed once more, a part of its lease after a renewal began.
func (k *keeper) again(l *Lock, began time.Time) {
	k.mu.Lock()
	defer k.mu.Unlock()
	l.due, l.busy = began.Add(l.lease/figureRenewPart), false
	if _, kept := k.kept[l]; kept {
		k.wake(l.due)
	}
}

// left is told that a session has ended. What it kept alive is renewed elsewhere, now.
func (k *keeper) left(session any) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for token, on := range k.others {
		if on == session {
			delete(k.others, token)
		}
	}
	for l := range k.kept {
		if l.on == session {
			l.on, l.due = nil, time.Now()
			k.wake(l.due)
		}
	}
}

// close ends renewal.
func (k *keeper) close() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.kept)
	if k.timer != nil {
		k.timer.Stop()
	}
}

// wake has renew run at the time at the latest. k.mu is held.
func (k *keeper) wake(at time.Time) {
	switch {
	case k.timer == nil:
		k.timer = time.AfterFunc(time.Until(at), k.renew)
	case k.next.IsZero() || at.Before(k.next):
		k.timer.Reset(time.Until(at))
	default:
		return
	}
	k.next = at
}

// renew renews what is due, and what soon is.
func (k *keeper) renew() {
	const soon = 10 // of the time between two renewals, as a part
	session, now := k.client.transport.session(), time.Now()
	var together, singly []*Lock
	urgent := false
	k.mu.Lock()
	k.next = time.Time{}
	alive := k.mayKeepAlive(session)
	for l := range k.kept {
		due := l.due.Sub(now) <= l.lease/figureRenewPart/soon
		switch {
		case l.busy:
		case alive && l.on == session && !l.single:
			together = append(together, l)
			urgent = urgent || due
		case due:
			singly = append(singly, l)
			l.busy = true
		}
	}
	if !urgent {
		together = nil
	}
	for _, l := range together {
		l.busy = true
	}
	for l := range k.kept {
		if !l.busy {
			k.wake(l.due)
		}
	}
	k.mu.Unlock()
	for _, l := range singly {
		go l.renewInBackground()
	}
	if urgent {
		k.keepAlive(session, together)
	}
}

// mayKeepAlive tells whether every lease of the session is to be renewed. k.mu is held.
func (k *keeper) mayKeepAlive(session any) bool {
	if session == nil || k.coming > 0 || k.spoilt == session {
		return false
	}
	for _, on := range k.others {
		if on == session {
			return false
		}
	}
	return true
}

// keepAlive renews the leases of a session by one message. If that fails, each is renewed by itself.
func (k *keeper) keepAlive(session any, locks []*Lock) {
	c := k.client
	began, sent := time.Now(), c.clock.now()
	bound := figureRenewAttempt
	for _, l := range locks {
		if l.usable() == nil {
			bound = min(bound, l.renewalBound(sent))
		}
	}
	renewed := false
	if fault.KeepaliveRenewsNothing {
		renewed = true
	} else if c.begin("") == nil { // else whoever closes the client declares the locks lost
		defer c.done()
		var kept keepaliveAnswer
		o := c.transport.send(c.life, attempt{op: &opKeepalive, began: began, request: struct{}{}, on: session, bound: bound, limit: bound})
		if o.answer.status != 0 && opKeepalive.read(&o.answer, &kept) == nil {
			renewed = kept.Renewed+len(kept.Lost) >= len(locks)
			for _, l := range kept.Lost {
				c.lost(l.Resource, l.Token, l.Reason)
			}
		}
	}
	for _, l := range locks {
		if renewed {
			lease := l.lease.Seconds()
			l.confirm(sent, &grantAnswer{ExpiresIn: &lease})
			k.again(l, began)
			continue
		}
		k.mu.Lock()
		l.busy, l.single = false, true
		if _, still := k.kept[l]; still {
			k.wake(l.due)
		}
		k.mu.Unlock()
	}
}
