package session

import (
	"cmp"
	"slices"
	"sync"
	"time"

	"github.com/lockserver/lockserver/server/internal/fault"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/service"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// renewal is a keepalive on its way: it takes the answers to its renewals.
type renewal struct {
	x      *session
	slot   uint32
	leases []lease

	mu       sync.Mutex
	left     int // renewals without an answer
	renewed  int
	shortest time.Duration
	lost     []wire.Lost
	failed   *wire.Problem
}

type lease struct {
	token           int64
	resource, owner string
}

// keepalive renews every lease that the session holds, each by its own length. One that has many waits for the one before it, so that
// a flood of them costs no more memory than one.
func (x *session) keepalive(slot uint32) {
	k := &renewal{x: x, slot: slot}
	x.mu.Lock()
	if x.keeping {
		x.kept = append(x.kept, slot)
		x.mu.Unlock()
		return
	}
	for token, h := range x.held {
		if h.leased {
			k.leases = append(k.leases, lease{token, h.resource, h.owner})
		}
	}
	k.left = len(k.leases)
	x.keeping = k.left > x.server.cfg.LeasesAtOnce
	x.mu.Unlock()
	if k.left == 0 {
		k.done()
		return
	}
	if k.left <= x.server.cfg.LeasesAtOnce {
		k.run()
		return
	}
	x.server.host.Go(k.run) // the session goes on reading
}

// run renews the leases in the order of their grants.
func (k *renewal) run() {
	slices.SortFunc(k.leases, func(a, b lease) int { return cmp.Compare(a.token, b.token) })
	server := k.x.server
	for i := range k.leases {
		if fault.KeepaliveRenewsNothing {
			k.take(func() { k.renewed, k.shortest = k.renewed+1, 5*time.Second })
			continue
		}
		l := &k.leases[i]
		ref := lock.Ref{Resource: l.resource, Owner: l.owner, Token: l.token}
		if p := server.service.Renew(&ref, lock.Reply{To: k, N: uint64(i)}); p != nil {
			k.take(func() { k.failed = p })
		}
		if (i+1)%server.cfg.LeasesAtOnce == 0 {
			server.host.Yield()
		}
	}
}

// Answer takes the answer to one renewal, under the engine's mutex.
func (k *renewal) Answer(n uint64, a *lock.Answer) {
	l := &k.leases[n]
	k.take(func() {
		switch p := wire.Refusal(a); {
		case p == nil:
			if k.renewed == 0 || a.ExpiresIn < k.shortest {
				k.shortest = a.ExpiresIn
			}
			k.renewed++
		case p.Code == wire.NotHeld:
			k.lost = append(k.lost, wire.Lost{Resource: l.resource, Owner: l.owner, Token: l.token, Reason: p.Reason})
		default:
			k.failed = p
		}
	})
}

// take notes one answer, and answers the keepalive after the last.
func (k *renewal) take(note func()) {
	k.mu.Lock()
	note()
	k.left--
	last := k.left == 0
	k.mu.Unlock()
	if last {
		k.done()
	}
}

func (k *renewal) done() {
	x := k.x
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return
	}
	lost := k.lost[:0]
	for i := range k.lost {
		if _, mine := x.held[k.lost[i].Token]; mine && k.failed == nil { // else the client released it meanwhile, was told, or will not be
			x.forget(k.lost[i].Token)
			lost = append(lost, k.lost[i])
		}
	}
	r := service.Result{Op: wire.Keepalive, Problem: k.failed}
	r.Body = func(b []byte) []byte { return wire.AppendKept(b, k.renewed, k.shortest, lost) }
	x.answer(k.slot, &r)
	if x.keeping = false; len(x.kept) > 0 {
		next := x.kept[0]
		x.kept = x.kept[1:]
		x.server.host.Go(func() { x.keepalive(next) }) // this may be under the engine's mutex
	}
}
