package lockserver

import (
	"context"
	"crypto/rand"
	"crypto/sha1" // RFC 6455 asks for it, not for secrecy
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/lockserver/lockserver/sdk-go/internal/fault"
	internal "github.com/lockserver/lockserver/sdk-go/internal/settings"
)

// sessionTransport carries requests over one WebSocket, section 6 of the contract, and what a session has no operation for over HTTP.
type sessionTransport struct {
	servers *servers
	only    bool // HTTP is not to take its place
	bounds  *internal.Bounds
	lost    func(resource string, token int64, reason string)                           // hears what the server says of locks
	left    func(session any)                                                           // hears that a session has ended
	ask     func(context.Context, *httpTransport) (s *session, o outcome, refused bool) // for a session: it is upgrade, except in tests

	mu      sync.Mutex
	now     *session      // nil: none
	dialing chan struct{} // closed when an attempt to get one has ended; nil: nobody tries
	cancel  context.CancelFunc
	wanted  int       // requests that wait for it
	backoff backoff   // between attempts: one for all requests, so that many of them make no storm
	next    time.Time // not before is one made
	outcome outcome   // of the last
	refused time.Time // when a session was last refused; zero: not since there was one
	closing bool      // the last requests are being sent
	closed  bool      // from now on a session ends once nothing is unanswered
}

func newSessionTransport(over *servers, s *settings) *sessionTransport {
	b := &s.Bounds
	t := &sessionTransport{
		servers: over, only: Transport(s.Transport) == Session, bounds: b, backoff: backoff{first: b.BackoffFirst, most: b.BackoffMost},
	}
	t.ask = t.upgrade
	return t
}

func (t *sessionTransport) addresses() int { return t.servers.addresses() }

func (t *sessionTransport) send(ctx context.Context, a attempt) outcome {
	if !a.op.session {
		return t.servers.send(ctx, a)
	}
	if a.on != nil {
		if t.session() != a.on {
			return outcome{reason: "the session has ended", unsent: true}
		}
		return t.over(ctx, a.on.(*session), a)
	}
	s, o := t.get(ctx, &a)
	if s == nil {
		if o == nil {
			return t.servers.send(ctx, a)
		}
		return *o
	}
	return t.over(ctx, s, a)
}

func (t *sessionTransport) start(a attempt) begun {
	s := t.current()
	if s == nil || !a.op.session || a.on != nil || fault.SessionPerCall {
		return nil
	}
	return s.start(&a)
}

// over sends over a session.
func (t *sessionTransport) over(ctx context.Context, s *session, a attempt) outcome {
	o := s.send(ctx, a)
	t.judge(ctx, s, &o)
	return o
}

// judge looks at what became of an attempt over a session. One whose server failed gets no new requests if there is another server, and
// ends with the last answer.
func (t *sessionTransport) judge(ctx context.Context, s *session, o *outcome) {
	if t.servers.judge(ctx, s.over, o) {
		t.mu.Lock()
		if t.now == s {
			t.now = nil
		}
		t.mu.Unlock()
		s.finish()
	}
}

func (t *sessionTransport) session() any {
	if s := t.current(); s != nil {
		return s
	}
	return nil
}

// current returns the session that there is now, or nil.
func (t *sessionTransport) current() *session {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.now
}

func (t *sessionTransport) close() {
	t.mu.Lock()
	t.closed, t.closing = t.closing, true
	if t.now != nil {
		t.now.share() // all requests but the last end with the client
	}
	t.leave()
	t.mu.Unlock()
	t.servers.close()
}

// leave ends what is of no more use to a closed client. t.mu is held.
func (t *sessionTransport) leave() {
	switch {
	case !t.closed || t.wanted > 0:
	case t.dialing != nil:
		t.cancel()
	case t.now != nil:
		t.now.finish()
	}
}

// get returns the session, or the outcome of an attempt that could not have one, or neither if HTTP is to take its place.
func (t *sessionTransport) get(ctx context.Context, a *attempt) (*session, *outcome) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.now != nil && !fault.SessionPerCall {
		return t.now, nil // if it has just ended, its user finds out, and the retry loop pauses
	}
	if t.dialing == nil && (t.refused.IsZero() || time.Since(t.refused) >= t.bounds.SessionAgain) {
		pause := max(0, time.Until(t.next))
		bounded, cancel := context.WithTimeout(context.Background(), pause+time.Duration(t.addresses())*(t.bounds.Connect+t.bounds.Answer))
		t.dialing, t.cancel = make(chan struct{}), cancel
		go t.dial(bounded, pause)
	}
	if !t.refused.IsZero() {
		return nil, nil
	}
	dialing := t.dialing
	t.wanted++
	t.mu.Unlock()
	timer := time.NewTimer(min(a.wait+a.bound, a.limit))
	defer timer.Stop()
	ended := false
	select {
	case <-dialing:
		ended = true
	case <-ctx.Done():
	case <-a.ended():
	case <-timer.C:
	}
	t.mu.Lock()
	t.wanted--
	switch {
	case t.now != nil:
		return t.now, nil
	case !t.refused.IsZero():
		return nil, nil
	}
	t.leave()
	o := t.outcome
	if !ended {
		o = outcome{reason: o.reason, unsent: true}
	}
	if o.answer.status == 0 && o.reason == "" {
		o = outcome{reason: "no session with " + t.servers.current().peer(), unsent: true}
	}
	return nil, &o
}

// dial tries to get a session.
func (t *sessionTransport) dial(ctx context.Context, pause time.Duration) {
	defer t.cancel()
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
	s, o, refused := t.round(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.dialing)
	t.dialing, t.now, t.outcome = nil, s, o
	switch {
	case s != nil:
		t.refused = time.Time{}
		s.finishing, s.reading.never = t.closed, t.closing // after the request for which it was made
		go s.read()
	case refused && !t.only || !t.refused.IsZero():
		t.refused = time.Now()
	case o.answer.status == 0 || o.answer.status >= http.StatusInternalServerError:
		t.pause(&o)
	}
	t.leave()
}

// pause puts off the next attempt after one that failed, or whose session did. t.mu is held.
func (t *sessionTransport) pause(o *outcome) {
	t.next = time.Now().Add(t.backoff.after(o.answer.retryAfter))
}

// ended is told by a session that it has, with a cause unless nobody wants it any more.
func (t *sessionTransport) ended(s *session, o outcome) {
	t.mu.Lock()
	if t.now == s {
		t.now, t.outcome = nil, o
		if o.cause != nil {
			t.servers.judge(context.Background(), s.over, &o)
			if s.useful.Load() {
				t.backoff.reset()
			}
			t.pause(&o)
		}
	}
	t.mu.Unlock()
	t.left(s)
}

// round asks one server after the other for a session, until one gives it, or says what no other would say differently. If none does, a
// refusal is the outcome before an answer, and an answer before a failure.
func (t *sessionTransport) round(ctx context.Context) (got *session, last outcome, refused bool) {
	one := t.servers.current()
	for range t.servers.all {
		bounded, cancel := context.WithTimeout(ctx, t.bounds.Connect+t.bounds.Answer)
		s, o, no := t.ask(bounded, one)
		cancel()
		if s != nil {
			t.servers.stay(one)
			return s, o, false
		}
		if !no && !t.servers.judge(context.Background(), one, &o) {
			return nil, o, false
		}
		if o.answer.status != 0 {
			o.answer.retryAfter = max(o.answer.retryAfter, last.answer.retryAfter)
		}
		if no || !refused && (o.answer.status != 0 || last.answer.status == 0) {
			last, refused = o, no
		}
		one = t.servers.after(one)
	}
	last.elsewhere = false // all were asked
	return nil, last, refused
}

// upgrade asks for a session. It is refused by any answer that a lockserver does not give whose sessions can be had later: there is
// none at the other end, or something between keeps them away.
func (t *sessionTransport) upgrade(ctx context.Context, over *httpTransport) (s *session, o outcome, refused bool) {
	var connection net.Conn
	if !over.foreign { // else who knows what the program's transport does with what is written
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) { connection = got.Conn }})
	}
	request, err := over.request(ctx, attempt{op: &operation{method: http.MethodGet, path: sessionPath, query: true}, request: struct{}{}})
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
	response, err := over.pool.RoundTrip(request)
	if err != nil {
		return nil, t.missing(ctx, over, err), false
	}
	stream, ok := response.Body.(io.ReadWriteCloser)
	if response.StatusCode == http.StatusSwitchingProtocols && ok {
		if response.Header.Get("Sec-WebSocket-Accept") == acceptOf(key) && response.Header.Get("Sec-WebSocket-Protocol") == sessionSubprotocol {
			return newSession(t, over, stream, connection), outcome{}, false
		}
		_ = stream.Close()
		return nil, outcome{reason: over.peer() + " does not answer as a WebSocket should", unsent: true, permanent: true}, true
	}
	defer response.Body.Close()
	body, err := readAnswer(response, opShow.answerMax)
	if err != nil {
		return nil, t.missing(ctx, over, err), false
	}
	status := response.StatusCode
	var problem wireProblem
	_ = decode(body, &problem) // what cannot be read has no code
	_, ours := verdicts[problem.Code]
	if ours && (status == http.StatusUnauthorized || status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable) {
		return nil, outcome{answer: answer{status, body, retryAfter(response.Header.Get("Retry-After")), over.peer()}, unsent: true}, false
	}
	reason := fmt.Sprintf("%s answered %d to the request for a session", over.peer(), status)
	return nil, outcome{reason: reason, status: status, unsent: true, permanent: statusMeans(status).client == raise}, true
}

// missing is the outcome of a request that wanted a session where there was no answer.
func (t *sessionTransport) missing(ctx context.Context, over *httpTransport, err error) outcome {
	o := over.failure(context.Background(), ctx, t.bounds.Connect+t.bounds.Answer, err)
	o.unsent = true
	return o
}

// acceptOf is what a server answers to a key (RFC 6455, 4.2.2).
func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
