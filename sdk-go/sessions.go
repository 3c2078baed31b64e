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
	http   *httpTransport
	only   bool // HTTP is not to take its place
	bounds *internal.Bounds
	lost   func(resource string, token int64, reason string) // hears what the server says of locks
	left   func(session any)                                 // hears that a session has ended
	ask    func(context.Context) (*session, outcome, bool)   // for a session: it is upgrade, except in tests

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

func newSessionTransport(over *httpTransport, s *settings) *sessionTransport {
	b := &s.Bounds
	t := &sessionTransport{
		http: over, only: Transport(s.Transport) == Session, bounds: b, backoff: backoff{first: b.BackoffFirst, most: b.BackoffMost},
	}
	t.ask = t.upgrade
	return t
}

func (t *sessionTransport) peer() string { return t.http.peer() }

func (t *sessionTransport) send(ctx context.Context, a attempt) outcome {
	if !a.op.session {
		return t.http.send(ctx, a)
	}
	if a.on != nil {
		if t.session() != a.on {
			return outcome{reason: "the session has ended", unsent: true}
		}
		return a.on.(*session).send(ctx, a)
	}
	s, o := t.get(ctx, &a)
	if s == nil {
		if o == nil {
			return t.http.send(ctx, a)
		}
		return *o
	}
	return s.send(ctx, a)
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
		bounded, cancel := context.WithTimeout(context.Background(), pause+t.bounds.Connect+t.bounds.Answer)
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
		o = outcome{reason: "no session with " + t.peer(), unsent: true}
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
	s, o, refused := t.ask(ctx)
	t.mu.Lock()
	defer t.mu.Unlock()
	close(t.dialing)
	t.dialing, t.now, t.outcome = nil, s, o
	switch {
	case s != nil:
		t.refused = time.Time{}
		s.finishing = t.closed // after the request for which it was made
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
			if s.useful.Load() {
				t.backoff.reset()
			}
			t.pause(&o)
		}
	}
	t.mu.Unlock()
	t.left(s)
}

// upgrade asks for a session. It is refused by any answer that a lockserver does not give whose sessions can be had later: there is
// none at the other end, or something between keeps them away.
func (t *sessionTransport) upgrade(ctx context.Context) (s *session, o outcome, refused bool) {
	var connection net.Conn
	if !t.http.foreign { // else who knows what the program's transport does with what is written
		ctx = httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(got httptrace.GotConnInfo) { connection = got.Conn }})
	}
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
		return nil, t.missing(ctx, err), false
	}
	stream, ok := response.Body.(io.ReadWriteCloser)
	if response.StatusCode == http.StatusSwitchingProtocols && ok {
		if response.Header.Get("Sec-WebSocket-Accept") == acceptOf(key) && response.Header.Get("Sec-WebSocket-Protocol") == sessionSubprotocol {
			return newSession(t, stream, connection), outcome{}, false
		}
		_ = stream.Close()
		return nil, outcome{reason: t.peer() + " does not answer as a WebSocket should", unsent: true, permanent: true}, true
	}
	defer response.Body.Close()
	body, err := readAnswer(response, opShow.answerMax)
	if err != nil {
		return nil, t.missing(ctx, err), false
	}
	status := response.StatusCode
	var problem wireProblem
	_ = decode(body, &problem) // what cannot be read has no code
	_, ours := verdicts[problem.Code]
	if ours && (status == http.StatusUnauthorized || status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable) {
		return nil, outcome{answer: answer{status, body, retryAfter(response.Header.Get("Retry-After"))}, unsent: true}, false
	}
	reason := fmt.Sprintf("%s answered %d to the request for a session", t.peer(), status)
	return nil, outcome{reason: reason, status: status, unsent: true, permanent: statusMeans(status).client == raise}, true
}

// missing is the outcome of a request that wanted a session where there was no answer.
func (t *sessionTransport) missing(ctx context.Context, err error) outcome {
	o := t.http.failure(context.Background(), ctx, t.bounds.Connect+t.bounds.Answer, err)
	o.unsent = true
	return o
}

// acceptOf is what a server answers to a key (RFC 6455, 4.2.2).
func acceptOf(key string) string {
	sum := sha1.Sum([]byte(key + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
	return base64.StdEncoding.EncodeToString(sum[:])
}
