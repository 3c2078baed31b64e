package prove

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/lockserver/lockserver/conformance/internal/driver"
)

// bounds are those of the SDKs, so short that what hangs does not hang for long.
var bounds = map[string]float64{"connect": 2, "answer": 3, "release": 20, "ping": 1, "unanswered": 60, "unanswered_queued": 60, "session_again": 1}

// sdk is a client of an SDK, in its driver's process.
type sdk struct {
	name   string // of the client, in its driver
	driver *driver.Conn
	h      *history
	locks  *atomic.Int64
}

func newSDK(ctx context.Context, name, transport, addr string, conn *driver.Conn, h *history, locks *atomic.Int64) (*sdk, error) {
	no, key := false, secret
	s := &sdk{name, conn, h, locks}
	a, err := s.ask(ctx, driver.Request{Op: "client", Client: name, Addr: &addr, Owner: &name, Secret: &key, Dotenv: &no, Transport: &transport, Test: bounds})
	if err == nil && a.OK == nil {
		err = fmt.Errorf("client %s: %s", name, a.Text())
	}
	return s, err
}

// ask asks the driver, and waits however long it takes.
func (s *sdk) ask(ctx context.Context, r driver.Request) (driver.Answer, error) {
	p, err := s.driver.Send(r)
	if err != nil {
		return driver.Answer{}, err
	}
	select {
	case <-p.Done:
		return p.Answer, nil
	case <-ctx.Done():
		return driver.Answer{}, context.Cause(ctx)
	}
}

// call asks, and reports what is the driver's own trouble.
func (s *sdk) call(ctx context.Context, op *Op, r driver.Request) (driver.Answer, bool) {
	a, err := s.ask(ctx, r)
	if err != nil {
		op.Note = err.Error()
		return a, false
	}
	if a.Fault != "" {
		s.h.violation("the driver works", op.Resource, s.name+": "+a.Fault)
	}
	if code, _ := a.Error["code"].(string); code != "" {
		op.Note = code
	} else if a.Error != nil {
		op.Note = a.Text()
	}
	return a, a.OK != nil
}

// lockedUp are what an SDK may raise for an acquire under these faults; all else is a violation.
var lockedUp = map[string]bool{"lock_timeout": true, "connection_failed": true, "storage_full": true}

func (s *sdk) acquire(ctx context.Context, l *lease) {
	op := &l.op
	l.name = fmt.Sprintf("%s.%d", s.name, s.locks.Add(1))
	wait := op.Wait
	r := driver.Request{Op: acquire, Client: s.name, Lock: l.name, Resource: op.Resource, Renew: op.Kept}
	if !wait {
		r.Blocking = &wait
	}
	if l.timeout > 0 {
		r.Timeout = &l.timeout
	}
	if op.Lease > 0 {
		r.Expire = op.Lease
	}
	switch {
	case op.Mode.Limit > 0:
		r.Limit = op.Mode.Limit
	case op.Mode.Shared:
		r.Mode = "shared"
	}
	a, ok := s.call(ctx, op, r)
	switch {
	case !ok:
		op.Outcome = failed
		if a.Error != nil && !lockedUp[op.Note] {
			s.h.violation("errors are those of the contract", op.Resource, fmt.Sprintf("acquire of %s raised %s", s.name, a.Text()))
		}
	case a.OK["granted"] == true:
		token, _ := a.OK["token"].(float64)
		op.Outcome, op.Token, l.held = granted, int64(token), true
	default:
		op.Outcome = refused
	}
}

func (s *sdk) release(ctx context.Context, l *lease, op *Op) {
	a, ok := s.call(ctx, op, driver.Request{Op: release, Lock: l.name})
	switch {
	case !ok:
		op.Outcome = unsure
	case a.OK["released"] == true:
		op.Outcome, l.held = released, false
	case op.Lease == 0:
		op.Outcome, l.held = notHeld, false
	default: // the SDK may have known by its clocks alone, and then tells the server so
		op.Outcome, op.Note, l.held = unsure, lost, false
	}
}

func (s *sdk) renew(ctx context.Context, l *lease, op *Op) {
	_, ok := s.call(ctx, op, driver.Request{Op: renew, Lock: l.name, Expire: op.Lease})
	switch {
	case ok:
		op.Outcome = renewed
	case op.Note == "lock_lost":
		op.Outcome = lost
	default:
		op.Outcome = failed
	}
}

// trust asks the SDK whether it trusts the lease.
func (s *sdk) trust(ctx context.Context, l *lease, op *Op) {
	a, ok := s.call(ctx, op, driver.Request{Op: check, Lock: l.name})
	switch {
	case !ok:
		op.Outcome = failed
	case a.OK["lost"] == true:
		op.Outcome = lost
	default:
		op.Outcome = trusted
	}
}

// told waits until the SDK tells of a loss.
func (s *sdk) told(ctx context.Context, l *lease, op *Op) {
	op.Outcome = failed
	if a, ok := s.call(ctx, op, driver.Request{Op: watch, Lock: l.name}); ok && a.OK["lost"] == true {
		op.Outcome = lost
	}
}

// clock sets the wall clock of the client so much ahead.
func (s *sdk) clock(ctx context.Context, wall time.Duration) {
	zero, ahead := 0.0, wall.Seconds()
	if a, err := s.ask(ctx, driver.Request{Op: "clock", Client: s.name, Monotonic: &zero, Wall: &ahead}); err == nil && a.OK == nil {
		s.h.violation("the driver works", "", s.name+": "+a.Text())
	}
}

func (s *sdk) close() {}
