package lockserver

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/sha1" // RFC 6455 asks for it, not for secrecy
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"
)

// sessionTransport carries requests over one WebSocket, section 6 of the contract, and what a session has no operation for over HTTP.
type sessionTransport struct {
	http   *httpTransport
	only   bool // HTTP is not to take its place
	bounds sessionBounds
	lost   func(resource string, token int64, reason string) // hears what the server says of locks

	mu      sync.Mutex
	session *session      // nil: none
	dialing chan struct{} // closed when an attempt to get one has ended; nil: nobody tries
	cancel  context.CancelFunc
	wanted  int       // requests that wait for it
	refused time.Time // when a session was last refused
	outcome outcome   // why there is none
	closing bool      // the last requests are being sent
	closed  bool      // from now on a session ends once nothing is unanswered
}

type sessionBounds struct {
	connect time.Duration
	answer  time.Duration
}

func (t *sessionTransport) peer() string { return t.http.peer() }

func (t *sessionTransport) send(ctx context.Context, a attempt) outcome {
	if !a.op.session {
		return t.http.send(ctx, a)
	}
	s, o := t.get(ctx, a.bound)
	if s == nil {
		if o == nil {
			return t.http.send(ctx, a)
		}
		return *o
	}
	return s.send(ctx, a)
}

func (t *sessionTransport) close() {
	t.mu.Lock()
	t.closed, t.closing = t.closing, true
	t.leave()
	t.mu.Unlock()
	t.http.close()
}

// leave ends what is of no more use to a closed client. t.mu is held.
func (t *sessionTransport) leave() {
	switch {
	case !t.closed || t.wanted > 0:
	case t.dialing != nil:
		t.cancel()
	case t.session != nil:
		t.session.finish()
	}
}

// get returns the session, or the outcome of an attempt that could not have one, or neither if HTTP is to take its place.
func (t *sessionTransport) get(ctx context.Context, bound time.Duration) (*session, *outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case t.session != nil && t.session.usable():
		return t.session, nil
	case !t.only && !t.refused.IsZero() && time.Since(t.refused) < figureSessionAgain:
		return nil, nil
	case t.dialing == nil:
		var bounded context.Context
		bounded, t.cancel = context.WithTimeout(context.Background(), t.bounds.connect+t.bounds.answer)
		t.dialing = make(chan struct{})
		go t.dial(bounded, t.cancel)
	}
	dialing := t.dialing
	t.wanted++
	t.mu.Unlock()
	timer := time.NewTimer(bound)
	defer timer.Stop()
	missing := ""
	select {
	case <-dialing:
	case <-ctx.Done():
		missing = "no session with " + t.peer()
	case <-timer.C:
		missing = "no session with " + t.peer() + " within " + inSeconds(bound)
	}
	t.mu.Lock()
	t.wanted--
	switch {
	case missing != "":
		t.leave()
		return nil, &outcome{reason: missing, unsent: true}
	case !t.refused.IsZero() && !t.only:
		return nil, nil
	case t.session == nil:
		o := t.outcome
		return nil, &o
	}
	return t.session, nil // if it has ended already, its user finds out, and the retry loop pauses
}

// dial tries to get a session.
func (t *sessionTransport) dial(ctx context.Context, cancel context.CancelFunc) {
	defer cancel()
	s, o, refused := t.upgrade(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.dialing)
	t.dialing, t.session, t.outcome, t.refused = nil, s, o, time.Time{}
	if refused {
		t.refused = time.Now()
	}
	if s != nil {
		s.finishing = t.closed // after the request for which it was made
		go s.read()
		t.leave()
	}
}

// upgrade asks for a session. An answer that shows that there is no lockserver with sessions at the other end, or something between
// that keeps them away, is a refusal.
func (t *sessionTransport) upgrade(ctx context.Context) (s *session, o outcome, refused bool) {
	request, err := t.http.request(ctx, attempt{op: &operation{method: http.MethodGet, path: sessionPath, query: true}, request: struct{}{}})
	if err != nil {
		return nil, outcome{reason: err.Error(), cause: err, unsent: true, permanent: true}, false
	}
	key := base64.StdEncoding.EncodeToString([]byte(rand.Text())[:16])
	request.Header = request.Header.Clone()
	for name, value := range map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": key, "Sec-WebSocket-Protocol": sessionSubprotocol,
	} {
		request.Header.Set(name, value)
	}
	response, err := t.http.pool.RoundTrip(request)
	if err != nil {
		o = t.http.failure(context.Background(), ctx, t.bounds.connect+t.bounds.answer, err)
		o.unsent = true // of the request that wanted the session
		return nil, o, false
	}
	stream, ok := response.Body.(io.ReadWriteCloser)
	if response.StatusCode == http.StatusSwitchingProtocols && ok {
		if response.Header.Get("Sec-WebSocket-Accept") == acceptOf(key) && response.Header.Get("Sec-WebSocket-Protocol") == sessionSubprotocol {
			return newSession(t, stream), outcome{}, false
		}
		_ = stream.Close()
		return nil, outcome{reason: t.peer() + " does not answer as a WebSocket should", unsent: true, permanent: t.only}, true
	}
	defer response.Body.Close()
	body, err := readAnswer(response, opShow.answerMax)
	if err != nil {
		o = t.http.failure(context.Background(), ctx, t.bounds.connect+t.bounds.answer, err)
		o.unsent = true
		return nil, o, false
	}
	switch status := response.StatusCode; {
	case status == http.StatusUnauthorized, status == http.StatusTooManyRequests, status >= 500 && status != http.StatusNotImplemented && status != http.StatusHTTPVersionNotSupported:
		return nil, outcome{answer: &answer{status, body, retryAfter(response.Header.Get("Retry-After"))}, unsent: true}, false
	default:
		reason := fmt.Sprintf("%s answered %d to the request for a session", t.peer(), status)
		return nil, outcome{reason: reason, status: status, unsent: true, permanent: true}, true
	}
}

// acceptOf is what a server answers to a key (RFC 6455, 4.2.2).
func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// session is one WebSocket.
type session struct {
	t      *sessionTransport
	stream io.ReadWriteCloser
	in     *bufio.Reader
	ping   *time.Timer

	mu        sync.Mutex
	seq       int64
	waiting   map[int64]chan outcome
	queue     []*message // the last one is still filled
	control   []byte     // control frames to be written
	writing   bool
	heard     time.Time // the last sign of life
	pings     int       // since then
	finishing bool
	ended     error
}

func newSession(t *sessionTransport, stream io.ReadWriteCloser) *session {
	s := &session{t: t, stream: stream, waiting: map[int64]chan outcome{}, heard: time.Now()}
	s.in = bufio.NewReaderSize(listening{s}, 16<<10)
	s.ping = time.AfterFunc(figureSessionPing, s.tick)
	return s
}

func (s *session) usable() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ended == nil
}

// send sends a request and waits for its answer.
func (s *session) send(ctx context.Context, a attempt) outcome {
	answered := make(chan outcome, 1)
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
	s.waiting[seq] = answered
	writer := s.beWriter()
	s.mu.Unlock()
	if writer {
		s.write()
	}
	timer := time.NewTimer(a.bound)
	defer timer.Stop()
	select {
	case o := <-answered:
		return o
	case <-ctx.Done():
	case <-timer.C:
		// The server would have answered by now. If nothing else comes either, the connection is dead, or the server is.
		if s.silent() >= min(a.bound, s.t.bounds.answer) {
			s.end(fmt.Errorf("no answer within %s", inSeconds(a.bound)))
		}
	}
	s.mu.Lock()
	delete(s.waiting, seq)
	s.closeIfDone()
	s.mu.Unlock()
	select {
	case o := <-answered:
		if o.answer != nil {
			return o
		}
	default:
	}
	reason := "no answer from " + s.t.peer()
	if ctx.Err() == nil {
		reason += " within " + inSeconds(a.bound)
	}
	return outcome{reason: reason}
}

// filling returns the message that requests are put into. s.mu is held.
func (s *session) filling() *message {
	if n := len(s.queue); n > 0 && !s.queue[n-1].full() {
		return s.queue[n-1]
	}
	m := newMessage()
	s.queue = append(s.queue, m)
	return m
}

// answer passes an answer to the request it is for. Nobody may wait for it any more.
func (s *session) answer(seq int64, a *answer) {
	s.mu.Lock()
	answered := s.waiting[seq]
	delete(s.waiting, seq)
	s.closeIfDone()
	s.mu.Unlock()
	if answered != nil {
		answered <- outcome{answer: a}
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
		s.ping.Stop()
		go s.stream.Close()
	}
}

// silent returns how long the server has shown no sign of life.
func (s *session) silent() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return time.Since(s.heard)
}

// listening notes all that comes as a sign of life, as an answer may be long.
type listening struct{ s *session }

func (l listening) Read(b []byte) (int, error) {
	n, err := l.s.stream.Read(b)
	if n > 0 {
		l.s.mu.Lock()
		l.s.heard, l.s.pings = time.Now(), 0
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
	s.ping.Stop()
	waiting, unsent := s.waiting, map[int64]bool{}
	for _, m := range s.queue {
		for _, seq := range m.seqs {
			unsent[seq] = true
		}
	}
	s.waiting, s.queue = nil, nil
	s.mu.Unlock()
	_ = s.stream.Close()
	reason := "connection closed by " + s.t.peer()
	if errors.Is(err, errSilent) {
		reason = "no sign of life from " + s.t.peer()
	}
	for seq, answered := range waiting {
		answered <- outcome{reason: reason, cause: err, unsent: unsent[seq]}
	}
}

var errSilent = errors.New("no answer to pings")

// tick pings the server, and ends a session that has shown no sign of life since the last two pings.
func (s *session) tick() {
	s.mu.Lock()
	if s.ended != nil {
		s.mu.Unlock()
		return
	}
	if s.pings++; s.pings > figureSessionPings {
		s.mu.Unlock()
		s.end(errSilent)
		return
	}
	s.ping.Reset(figureSessionPing)
	s.mu.Unlock()
	s.writeControl(pingFrame())
}
