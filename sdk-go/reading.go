package lockserver

import (
	"context"
	"errors"
	"os"
	"time"
)

// To pass an answer from one goroutine to another takes longer than all else that a client does for a request. So where requests come one
// at a time and soon after one another, each reads for itself, and between two of them nobody reads for a moment. Else there is a
// goroutine that reads. It goes on too when a request has read for long, as that does not see the end of its context.

// turn is how long nobody reads, or a request does, until a goroutine goes on: one to two of them. So late a loss may be told, or an end of
// a context be seen.
const turn = 10 * time.Millisecond

// reading says who reads. The session's mutex guards it.
type reading struct {
	by          reader
	pending     *pending // of byRequest
	interrupted bool     // the connection's deadline was set, to end the read of a request
	never       bool     // no request is to read any more

	turns, seen int         // of requests and of nobody, and those that the timer has seen
	timer       *time.Timer // runs overdue; nil: it was never set
	timed       bool        // it is set
}

type reader uint8

const (
	byGoroutine reader = iota
	byRequest
	byNobody
)

// beRead chooses who reads the answer to a request that was just begun. s.mu is held.
func (s *session) beRead(p *pending) {
	r := &s.reading
	switch {
	case r.by != byNobody:
	case len(s.waiting) == 1 && !r.never:
		r.by, r.pending, p.reads = byRequest, p, true
		s.turn()
	default:
		s.readOn()
	}
}

// readOn starts the goroutine that reads. s.mu is held.
func (s *session) readOn() {
	s.reading.by = byGoroutine
	go s.read()
}

// read passes on what comes until the session ends, or until requests are to read for themselves.
func (s *session) read() {
	for {
		if err := s.step(); err != nil {
			s.end(err)
			return
		}
		if s.rest() {
			return
		}
	}
}

// rest has nobody read, if the last answer was to the only request, and came soon after the one before.
func (s *session) rest() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	alone := s.lone && len(s.waiting) == 0 && s.heard.Sub(s.before) < turn
	if !alone || s.conn == nil || s.reading.never || s.ended != nil {
		return false
	}
	s.reading.by = byNobody
	s.turn()
	return true
}

// turn begins a turn of a request, or of nobody. s.mu is held.
func (s *session) turn() {
	r := &s.reading
	r.turns++
	switch {
	case r.timed:
		return
	case r.timer == nil:
		r.timer = time.AfterFunc(turn, s.overdue)
	default:
		r.timer.Reset(turn)
	}
	r.timed, r.seen = true, r.turns
}

// overdue ends a turn that lasts too long.
func (s *session) overdue() {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.reading
	r.timed = false
	switch {
	case s.ended != nil || r.by == byGoroutine:
	case r.turns != r.seen:
		r.timed, r.seen = true, r.turns
		r.timer.Reset(turn)
	case r.by == byNobody:
		s.readOn()
	default:
		s.interrupt(r.pending)
	}
}

// readFor reads until the request has its answer, but no longer than its turn lasts. It does not begin if ctx ends sooner.
func (s *session) readFor(ctx context.Context, p *pending) {
	deadline, limited := ctx.Deadline()
	ends := ctx.Err() != nil || limited && deadline.Sub(p.sent) < 2*turn
	var err error
	for !ends && len(p.answered) == 0 && err == nil {
		err = s.step()
	}
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		s.end(err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	r := &s.reading
	p.reads, r.pending = false, nil
	if r.interrupted {
		r.interrupted = false
		_ = s.conn.SetReadDeadline(time.Time{}) // if that fails, so does the next read
	}
	switch {
	case s.ended != nil:
	case len(s.waiting) > 0 || r.never:
		s.readOn()
	default:
		r.by = byNobody
		s.turn()
	}
}

// interrupt ends the read of the request, if that reads: a goroutine goes on. s.mu is held.
func (s *session) interrupt(p *pending) {
	if r := &s.reading; p != nil && r.pending == p && !r.interrupted {
		r.interrupted = true
		_ = s.conn.SetReadDeadline(time.Unix(1, 0)) // it fails if the connection is closed, and then the read does too
	}
}

// share has no request read any more, so that each sees the end of its life.
func (s *session) share() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reading.never = true
	s.interrupt(s.reading.pending)
	if s.reading.by == byNobody && s.ended == nil {
		s.readOn()
	}
}
