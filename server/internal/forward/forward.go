// Package forward passes requests of a server that stands by on to the one that leads.
package forward

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/http/httputil"
	"net/url"
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockserver/lockserver/server/internal/wire"
)

// header marks a request that was passed on, so that it is not passed on again. Its value names the request.
const header = "Lockserver-Forwarded"

const (
	dialTimeout   = 2 * time.Second
	answerTimeout = 10 * time.Second // to write an answer
	idleTimeout   = 30 * time.Second // less than a server's, so that none closes a connection that is about to be used
	drainGrace    = 200 * time.Millisecond
	partTimeout   = time.Second // for sessions to end in order
)

var (
	errChanged  = errors.New("another server leads now")
	errDraining = errors.New("this server shuts down")
)

// Forwarder knows who leads.
type Forwarder struct {
	transport *http.Transport
	log       *slog.Logger
	name      string // of this server, among those that pass requests on
	requests  atomic.Uint64
	warned    atomic.Int64           // when a warning was last due
	key       atomic.Pointer[string] // what the servers of the cluster know, and their clients do not; nil as long as it is not known

	mu       sync.Mutex
	leader   *leader // nil if none is known
	draining bool
	sessions map[string]session
	running  sync.WaitGroup // sessions
}

// session is one that is passed on.
type session struct {
	to      *leader
	request *http.Request
}

// leader is a server that leads, as far as is known.
type leader struct {
	url *url.URL
	ctx context.Context // ends when it leads no more
	end context.CancelCauseFunc
}

// New returns a forwarder that knows no leader. To one that asks for a certificate it shows the given one; nil for none.
func New(certificate func() *tls.Certificate, log *slog.Logger) *Forwarder {
	encryption := &tls.Config{MinVersion: tls.VersionTLS12}
	if certificate != nil {
		encryption.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return certificate(), nil }
	}
	dialer := net.Dialer{Timeout: dialTimeout, KeepAliveConfig: net.KeepAliveConfig{Enable: true, Idle: 5 * time.Second, Interval: 5 * time.Second, Count: 3}}
	return &Forwarder{log: log, name: rand.Text(), sessions: map[string]session{}, transport: &http.Transport{
		DialContext: dialer.DialContext, TLSClientConfig: encryption, TLSHandshakeTimeout: dialTimeout, MaxIdleConnsPerHost: 1024, IdleConnTimeout: idleTimeout, DisableCompression: true,
	}}
}

// Lead makes requests go to the server at that URL from now on, or to none if it is "". What a leader before it has not answered soon is
// ended, and its outcome is unknown: the leader may be paused, and never answer.
func (f *Forwarder) Lead(address string) {
	var next *leader
	if u, err := url.Parse(address); err == nil && address != "" {
		next = &leader{url: u}
		next.ctx, next.end = context.WithCancelCause(context.Background())
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	last := f.leader
	if last != nil && next != nil && *last.url == *next.url {
		next.end(nil)
		return
	}
	if last != nil {
		// One that stops in order is still answering.
		time.AfterFunc(drainGrace, func() { last.end(errChanged) })
		f.transport.CloseIdleConnections()
	}
	f.leader = next
	if f.draining && next != nil {
		next.end(errDraining)
	}
}

// Drain refuses new requests. Soon it has the leader end sessions in order, and ends requests that the leader has not answered.
func (f *Forwarder) Drain() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.draining = true
	if l := f.leader; l != nil {
		time.AfterFunc(drainGrace, func() {
			f.part()
			l.end(errDraining)
		})
	}
}

// part has the leader end the sessions that were passed on to it, and waits for that, within limits.
func (f *Forwarder) part() {
	f.mu.Lock()
	for name, x := range f.sessions {
		go f.report(x.to, x.request, name, draining)
	}
	f.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), partTimeout)
	defer cancel()
	_ = f.Shutdown(ctx) // what is left is ended next
}

// Shutdown waits until the sessions that were passed on have ended. It must follow Drain.
func (f *Forwarder) Shutdown(ctx context.Context) error {
	ended := make(chan struct{})
	go func() {
		f.running.Wait()
		close(ended)
	}()
	select {
	case <-ended:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// begin notes that a session is passed on, unless the server shuts down.
func (f *Forwarder) begin(name string, x session) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.draining {
		return false
	}
	f.sessions[name] = x
	f.running.Add(1)
	return true
}

func (f *Forwarder) end(name string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.sessions, name)
	f.running.Done()
}

// Ready returns why requests cannot be passed on, or nil.
func (f *Forwarder) Ready() *wire.Problem {
	_, p := f.to()
	return p
}

func (f *Forwarder) to() (*leader, *wire.Problem) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.draining:
		return nil, shutsDown()
	case f.leader == nil:
		return nil, noLeader("no server of the cluster leads at the moment; ask again")
	}
	return f.leader, nil
}

func shutsDown() *wire.Problem {
	return &wire.Problem{Code: wire.Draining, Detail: "the server shuts down", Reason: "draining"}
}

func noLeader(detail string) *wire.Problem { return &wire.Problem{Code: wire.NoLeader, Detail: detail} }

// Forward passes a request on, with this body, and its answer back. If it returns a problem, nothing has been written yet. Gone says that the
// client has gone away, so that nobody is left to be told.
func (f *Forwarder) Forward(w http.ResponseWriter, r *http.Request, body []byte) (p *wire.Problem, gone bool) {
	to, p := f.to()
	if p != nil {
		return p, false
	}
	if NameOf(r) != "" {
		return noLeader("this server does not lead, and the request was passed on already; ask again"), false
	}
	name := f.name + "-" + strconv.FormatUint(f.requests.Add(1), 10)
	switch r.URL.Path {
	case wire.Session.Path():
		if !f.begin(name, session{to, r}) {
			return shutsDown(), false
		}
		defer f.end(name)
	case wire.Acquire.Path():
	default:
		p, gone, _ = f.pass(w, r, body, to, name)
		return p, gone
	}
	answer := &handing{ResponseWriter: w}
	whole := false
	defer func() { // also if the answer breaks off, which is a panic
		why := context.Cause(to.ctx)
		if whole || errors.Is(why, errChanged) {
			return
		}
		handed := int64(0)
		if answer.conn != nil {
			handed = answer.conn.end()
		}
		if f.report(to, r, name, strconv.FormatInt(handed, 10)) && p != nil && errors.Is(why, errDraining) {
			p = shutsDown() // now it is known that nothing was granted
		}
	}()
	p, gone, asked := f.pass(answer, r, body, to, name)
	whole = !asked || answer.conn == nil && p == nil && !gone && answer.whole()
	return p, gone
}

// pass passes a request on under that name. It also returns whether the leader may have got it.
func (f *Forwarder) pass(w http.ResponseWriter, r *http.Request, body []byte, to *leader, name string) (p *wire.Problem, gone, connected bool) {
	ctx, cancel := context.WithCancelCause(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GotConn: func(httptrace.GotConnInfo) { connected = true },
	}))
	defer cancel(nil)
	defer context.AfterFunc(to.ctx, func() { cancel(context.Cause(to.ctx)) })()
	out := r.WithContext(ctx)
	out.Body, out.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	if len(body) == 0 {
		out.Body = http.NoBody
	}
	w.Header().Del("Server") // the leader's comes
	proxy := httputil.ReverseProxy{
		Transport: f.transport,
		Rewrite: func(x *httputil.ProxyRequest) {
			x.SetURL(to.url)
			x.Out.Host = x.In.Host
			x.Out.Header.Set(header, name)
			x.Out.Header.Del(reportHeader)
			f.sign(x.Out.Header, x.In.RemoteAddr)
			x.Out.Header.Del("Expect")
		},
		ModifyResponse: func(resp *http.Response) error {
			if err := r.Context().Err(); err != nil || resp.StatusCode == http.StatusSwitchingProtocols {
				return err
			}
			until := time.Now().Add(answerTimeout)
			if resp.ContentLength < 0 { // events, without an end
				until = time.Time{}
			}
			return http.NewResponseController(w).SetWriteDeadline(until)
		},
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) {
			switch {
			case r.Context().Err() != nil:
				gone = true
			case !connected:
				p = noLeader("the server that leads cannot be reached; ask again")
			default:
				p = &wire.Problem{Code: wire.StoreUnavailable, Detail: "the server that leads gave no answer, so what became of this request is unknown; ask again"}
			}
		},
	}
	proxy.ServeHTTP(w, out)
	return p, gone, connected
}
