package lockserver

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockserver/lockserver/sdk-go/internal/fault"
)

// session is one WebSocket.
type session struct {
	t      *sessionTransport
	stream io.ReadWriteCloser
	in     *bufio.Reader
	useful atomic.Bool // a request was answered
	used   sync.Pool   // of *pending

	mu        sync.Mutex
	seq       int64
	waiting   map[int64]*pending
	queue     []*message // the last one is still filled
	spare     *message   // to be filled again; nil: none
	control   []byte     // control frames to be written
	writing   bool
	written   time.Time   // when the last write began
	heard     time.Time   // the last sign of life
	before    time.Time   // the one before it
	pings     int         // since then
	alarm     *time.Timer // runs look
	lookAt    time.Time   // when it does
	finishing bool
	ended     error
}

// pending is a request that is unanswered.
type pending struct {
	answered chan outcome
	sent     time.Time
	bound    time.Duration // for the answer, in all
	silence  time.Duration // after so long without a sign of life since it was sent, the session is dead
}

func newSession(t *sessionTransport, stream io.ReadWriteCloser) *session {
	now := time.Now()
	s := &session{t: t, stream: stream, waiting: map[int64]*pending{}, heard: now, before: now, lookAt: now.Add(t.bounds.Ping)}
	s.in = bufio.NewReaderSize(listening{s}, 16<<10)
	s.alarm = time.AfterFunc(t.bounds.Ping, s.look)
	return s
}

// send sends a request and waits for its answer.
func (s *session) send(ctx context.Context, a attempt) outcome {
	a.hold(longestWait)
	p, again := s.used.Get().(*pending)
	if !again {
		p = &pending{answered: make(chan outcome, 1)}
	}
	defer s.used.Put(p) // nobody else knows one that does not wait and whose outcome was received
	p.sent, p.bound, p.silence = time.Now(), a.wait+a.bound, s.t.http.hop+s.t.bounds.Answer
	if a.wait == 0 {
		p.bound = min(a.bound, a.limit)
		p.silence = min(p.bound, s.t.bounds.Answer)
	}
	s.mu.Lock()
	if s.ended != nil {
		defer s.mu.Unlock()
		return outcome{reason: "connection closed by " + s.t.peer(), cause: s.ended, unsent: true}
	}
	s.seq++
	seq := s.seq
	m := s.filling()
	if err := m.add(seq, &a); err != nil {
		defer s.mu.Unlock()
		return outcome{reason: err.Error(), cause: err, unsent: true, permanent: true}
	}
	s.waiting[seq] = p
	s.lookBy(p.sent.Add(min(p.bound, p.silence)))
	s.beWritten()
	s.mu.Unlock()
	select {
	case o := <-p.answered:
		return o
	case <-ctx.Done():
	case <-a.ended():
	}
	s.mu.Lock()
	if s.waiting[seq] == p {
		delete(s.waiting, seq)
		s.closeIfDone()
		p.answered <- outcome{reason: "no answer from " + s.t.peer(), heard: p.after(s.heard)}
	}
	s.mu.Unlock()
	return <-p.answered
}

// filling returns the message that requests are put into. s.mu is held.
func (s *session) filling() *message {
	if n := len(s.queue); n > 0 && !s.queue[n-1].full() {
		return s.queue[n-1]
	}
	m := s.spare
	if s.spare = nil; m == nil {
		m = &message{b: make([]byte, 0, 512)}
	}
	m.empty()
	s.queue = append(s.queue, m)
	return m
}

// after returns the time if it is after the request was sent, else no time.
func (p *pending) after(t time.Time) time.Time {
	if t.After(p.sent) {
		return t
	}
	return time.Time{}
}

// answer passes an answer to the request it is for. Nobody may wait for it any more.
func (s *session) answer(seq int64, a *answer) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.useful.Store(true)
	if fault.AnswersSwapped && s.waiting[seq-1] != nil {
		seq--
	}
	if p := s.waiting[seq]; p != nil {
		delete(s.waiting, seq)
		s.closeIfDone()
		p.answered <- outcome{answer: a, on: s, heard: p.after(s.before)}
	}
}

// finish ends the session once nothing is unanswered.
func (s *session) finish() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finishing = true
	s.closeIfDone()
}

// closeIfDone ends a session that finishes and has nothing unanswered. s.mu is held, so that no request gets in between.
func (s *session) closeIfDone() {
	if s.finishing && len(s.waiting) == 0 && s.ended == nil {
		s.ended, s.queue = net.ErrClosed, nil
		s.alarm.Stop()
		go func() {
			_ = s.stream.Close()
			s.t.ended(s, outcome{})
		}()
	}
}

// listening notes all that comes as a sign of life, as an answer may be long.
type listening struct{ s *session }

func (l listening) Read(b []byte) (int, error) {
	n, err := l.s.stream.Read(b)
	if n > 0 {
		l.s.mu.Lock()
		l.s.before, l.s.heard, l.s.pings = l.s.heard, time.Now(), 0
		l.s.mu.Unlock()
	}
	return n, err
}

// end ends the session. Whether requests that were written had their effect is unknown.
func (s *session) end(err error) {
	s.mu.Lock()
	if s.ended != nil {
		s.mu.Unlock()
		return
	}
	s.ended = err
	s.alarm.Stop()
	waiting, unsent := s.waiting, map[int64]bool{}
	for _, m := range s.queue {
		for _, seq := range m.seqs {
			unsent[seq] = true
		}
	}
	s.waiting, s.queue = nil, nil
	heard := s.heard
	s.mu.Unlock()
	_ = s.stream.Close()
	o := outcome{reason: "connection closed by " + s.t.peer(), cause: err, unsent: true}
	if errors.Is(err, errSilent) {
		o.reason = "no sign of life from " + s.t.peer()
	}
	s.t.ended(s, o)
	for seq, p := range waiting {
		o.unsent, o.heard, o.permanent = unsent[seq], p.after(heard), fault.WaitsDropped
		p.answered <- o
	}
}

var errSilent = errors.New("the server is silent")

// lookBy has look run at the time at the latest. s.mu is held.
func (s *session) lookBy(at time.Time) {
	if at.Before(s.lookAt) {
		s.lookAt = at
		s.alarm.Reset(time.Until(at))
	}
}

// look ends the requests whose time is over, pings a silent server, and ends the session if it is dead: a request, a write or two pings
// were without any sign of life for too long.
func (s *session) look() {
	now := time.Now()
	s.mu.Lock()
	if s.ended != nil {
		s.mu.Unlock()
		return
	}
	dead := s.writing && now.Sub(s.written) >= s.t.bounds.Answer
	next := s.heard.Add(s.t.bounds.Ping * time.Duration(s.pings+1))
	ping := !now.Before(next)
	if ping {
		s.pings++
		dead = dead || s.pings > figureSessionPings
		next = next.Add(s.t.bounds.Ping)
	}
	for seq, p := range s.waiting {
		since := s.heard
		if p.sent.After(since) {
			since = p.sent
		}
		due, silent := p.sent.Add(p.bound), since.Add(p.silence)
		dead = dead || !now.Before(silent)
		if !now.Before(due) {
			delete(s.waiting, seq)
			p.answered <- outcome{reason: "no answer from " + s.t.peer() + " within " + inSeconds(p.bound), heard: p.after(s.heard)}
			continue
		}
		for _, at := range []time.Time{due, silent} {
			if at.Before(next) {
				next = at
			}
		}
	}
	s.lookAt = next
	s.alarm.Reset(max(time.Until(next), time.Millisecond))
	s.closeIfDone()
	s.mu.Unlock()
	switch {
	case dead:
		s.end(errSilent)
	case ping:
		s.writeControl(pingFrame())
	}
}
