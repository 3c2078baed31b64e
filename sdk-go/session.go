package lockserver

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockserver/lockserver/sdk-go/internal/fault"
)

// session is one WebSocket.
type session struct {
	t      *sessionTransport
	over   *httpTransport // where it was asked for
	stream io.ReadWriteCloser
	direct *directWriter // to the same connection; nil: it has none
	conn   net.Conn      // the same connection, if requests can read from it; else nil
	useful atomic.Bool   // a request was answered
	used   sync.Pool     // of *pending

	incoming incoming   // of who reads
	got      []answered // of who reads: what a message has

	mu        sync.Mutex
	reading   reading
	lone      bool // the last message had one answer
	seq       int64
	waiting   map[int64]*pending
	queue     []*message // the last one is still filled
	last      *message   // that was written, or is being; nil: none
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
	session  *session
	seq      int64
	answered chan struct{} // gets one once outcome is set
	outcome  outcome
	reads    bool // the answer, for itself
	sent     time.Time
	bound    time.Duration // for the answer, in all
	silence  time.Duration // after so long without a sign of life since it was sent, the session is dead
}

// end sets the outcome. Nobody may know it as waiting any more.
func (p *pending) end(o outcome) {
	p.outcome = o
	p.answered <- struct{}{}
}

func (p *pending) succeeds(ctx context.Context) bool {
	if !p.session.wait(ctx, p, nil) {
		return false
	}
	p.answered <- struct{}{} // for await
	return p.outcome.answer.status == http.StatusOK
}

func (p *pending) await(ctx context.Context) outcome {
	s := p.session // p is another's afterwards
	o := s.await(ctx, p, nil)
	s.t.judge(ctx, s, &o)
	return o
}

// newSession makes a session of a stream, which writes to the connection and does no more; nil: it is not known to which.
func newSession(t *sessionTransport, over *httpTransport, stream io.ReadWriteCloser, to net.Conn) *session {
	now := time.Now()
	s := &session{
		t: t, over: over, stream: stream, direct: newDirectWriter(to), waiting: map[int64]*pending{}, heard: now, before: now, lookAt: now.Add(t.bounds.Ping),
	}
	if s.direct != nil {
		s.conn = to
	}
	s.incoming = newIncoming(listening{s})
	s.alarm = time.AfterFunc(t.bounds.Ping, s.look)
	return s
}

// send sends a request and waits for its answer.
func (s *session) send(ctx context.Context, a attempt) outcome {
	return s.await(ctx, s.start(&a), a.ended())
}

// start sends a request. Its outcome must be awaited.
func (s *session) start(a *attempt) *pending {
	a.hold(longestWait)
	p, again := s.used.Get().(*pending)
	if !again {
		p = &pending{session: s, answered: make(chan struct{}, 1)}
	}
	p.sent, p.bound, p.silence = a.began, a.wait+a.bound, s.over.hop+s.t.bounds.Answer
	if a.wait == 0 {
		p.bound = min(a.bound, a.limit)
		p.silence = min(p.bound, s.t.bounds.Answer)
	}
	s.mu.Lock()
	if s.ended != nil {
		defer s.mu.Unlock()
		p.end(outcome{reason: "connection closed by " + s.over.peer(), cause: s.ended, unsent: true})
		return p
	}
	s.seq++
	p.seq = s.seq
	if err := s.filling().add(p.seq, a); err != nil {
		defer s.mu.Unlock()
		p.end(outcome{reason: err.Error(), cause: err, unsent: true, permanent: true})
		return p
	}
	s.waiting[p.seq] = p
	s.beRead(p)
	s.lookBy(p.sent.Add(min(p.bound, p.silence)))
	if s.direct == nil || s.writing {
		s.beWritten()
		s.mu.Unlock()
		return p
	}
	s.writing, s.written = true, p.sent
	alone := len(s.waiting) == 1
	s.mu.Unlock()
	s.writeFor(p, alone)
	return p
}

// await returns the outcome of a request, at the latest when ctx or its life ends. The request is of no use any more then.
func (s *session) await(ctx context.Context, p *pending, life <-chan struct{}) outcome {
	defer s.used.Put(p)
	if s.wait(ctx, p, life) {
		return p.outcome
	}
	s.mu.Lock()
	if s.waiting[p.seq] == p {
		delete(s.waiting, p.seq)
		s.closeIfDone()
		p.end(outcome{reason: "no answer from " + s.over.peer(), heard: p.after(s.heard)})
	}
	s.mu.Unlock()
	<-p.answered
	return p.outcome
}

// wait returns true once the request has its answer, and false if ctx or its life ends before.
func (s *session) wait(ctx context.Context, p *pending, life <-chan struct{}) bool {
	if p.reads {
		s.readFor(ctx, p)
	}
	select {
	case <-p.answered:
		return true
	default:
	}
	select {
	case <-p.answered:
		return true
	case <-ctx.Done():
	case <-life:
	}
	return false
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

// answered is an answer that came, and what it is for.
type answered struct {
	seq int64
	answer
}

// deliver passes answers to the requests they are for. Nobody may wait for one any more.
func (s *session) deliver(answers []answered) {
	s.useful.Store(true)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lone = len(answers) == 1
	for i := range answers {
		seq := answers[i].seq
		if fault.AnswersSwapped && s.waiting[seq-1] != nil {
			seq--
		}
		if p := s.waiting[seq]; p != nil {
			delete(s.waiting, seq)
			p.end(outcome{answer: answers[i].answer, on: s, heard: p.after(s.before)})
		}
	}
	s.closeIfDone()
}

// finish ends the session once nothing is unanswered.
func (s *session) finish() {
	s.share()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.finishing = true
	s.closeIfDone()
}

// closeIfDone ends a session that finishes and has nothing unanswered. s.mu is held, so that no request gets in between.
func (s *session) closeIfDone() {
	if s.finishing && len(s.waiting) == 0 && s.ended == nil {
		s.ended, s.queue = net.ErrClosed, nil
		s.stopTimers()
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
	s.stopTimers()
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
	o := outcome{reason: "connection closed by " + s.over.peer(), cause: err, unsent: true}
	if errors.Is(err, errSilent) {
		o.reason = "no sign of life from " + s.over.peer()
	}
	s.t.ended(s, o)
	for seq, p := range waiting {
		o.unsent, o.heard, o.permanent = unsent[seq], p.after(heard), fault.WaitsDropped
		p.end(o)
	}
}

// stopTimers is of the end. s.mu is held.
func (s *session) stopTimers() {
	s.alarm.Stop()
	if s.reading.timer != nil {
		s.reading.timer.Stop()
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
			p.end(outcome{reason: "no answer from " + s.over.peer() + " within " + inSeconds(p.bound), heard: p.after(s.heard)})
			s.interrupt(p)
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
