package httpapi

import (
	"container/list"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// HandshakeConfig bounds what connections may do before they are encrypted.
type HandshakeConfig struct {
	TLS     *tls.Config
	Most    int           // under way at one time
	Timeout time.Duration // for each, from its first byte to its last
	Logger  *slog.Logger
}

// Handshakes is a listener whose connections have ended their TLS handshakes.
//
// Anybody can begin one. So there is a bound to how many are under way; beyond it the one is closed that has waited longest for its client, or
// the new one if none waits for its client: a client that answers is never closed for one that does not, and no work that was done is lost. And
// they get half of the processors at most, so that requests go on.
type Handshakes struct {
	net.Listener
	cfg    HandshakeConfig
	slots  chan struct{} // of those that use a processor
	ready  chan *tls.Conn
	failed chan error // of Accept
	ctx    context.Context
	end    context.CancelFunc

	mu     sync.Mutex
	under  int
	idle   *list.List // of *handshake: those that wait for their clients, the longest first
	logged time.Time  // when a failure last was
	silent int        // failures since then

	encrypted, failures, crowds atomic.Uint64
}

// handshake is the connection below one.
type handshake struct {
	net.Conn
	of      *Handshakes
	ctx     context.Context
	waits   *list.Element // in idle; of.mu is held
	crowded bool          // the same
	slot    bool          // only its own goroutine uses it
	done    bool          // the same, until it is accepted
}

// lingering is how long a client that was refused has to read why.
const lingering = time.Second

// methods are how requests begin that come without encryption.
var methods = []string{"GET /", "HEAD ", "POST ", "PUT /", "OPTIO", "DELET"}

// NewHandshakes makes handshakes with those who connect to l. Close ends those that are under way.
func NewHandshakes(l net.Listener, cfg HandshakeConfig) *Handshakes {
	h := &Handshakes{
		Listener: l, cfg: cfg, slots: make(chan struct{}, max(1, runtime.GOMAXPROCS(0)/2)), ready: make(chan *tls.Conn), failed: make(chan error), idle: list.New(),
	}
	h.ctx, h.end = context.WithCancel(context.Background())
	go h.accept()
	return h
}

// Encrypted returns how many ended well.
func (h *Handshakes) Encrypted() uint64 { return h.encrypted.Load() }

// Failed returns how many failed: the client spoke no TLS, did not accept the certificate or has none that is accepted, went away, or took too
// long.
func (h *Handshakes) Failed() uint64 { return h.failures.Load() }

// Crowded returns how many were closed because there were too many.
func (h *Handshakes) Crowded() uint64 { return h.crowds.Load() }

// Under returns how many are under way.
func (h *Handshakes) Under() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.under
}

// Accept returns a connection that is encrypted.
func (h *Handshakes) Accept() (net.Conn, error) {
	select {
	case c := <-h.ready:
		return c, nil
	case err := <-h.failed:
		return nil, err
	case <-h.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close stops listening, and ends the handshakes that are under way.
func (h *Handshakes) Close() error {
	h.end()
	return h.Listener.Close()
}

// accept passes on errors to whoever accepts, which knows when to try again.
func (h *Handshakes) accept() {
	for h.ctx.Err() == nil {
		c, err := h.Listener.Accept()
		if err != nil {
			select {
			case h.failed <- err:
			case <-h.ctx.Done():
			}
			continue
		}
		if x := h.admit(c); x != nil {
			go h.shake(x)
		}
	}
}

// admit makes room for a handshake; nil if there is none.
func (h *Handshakes) admit(c net.Conn) *handshake {
	x := &handshake{Conn: c, of: h}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.under >= h.cfg.Most {
		oldest := h.idle.Front()
		if oldest == nil {
			h.crowds.Add(1)
			_ = c.Close()
			return nil
		}
		out := h.idle.Remove(oldest).(*handshake)
		out.waits, out.crowded = nil, true
		h.under--
		h.crowds.Add(1)
		_ = out.Conn.Close()
	}
	h.under++
	return x
}

// shake makes one handshake.
func (h *Handshakes) shake(x *handshake) {
	ctx, cancel := context.WithTimeout(h.ctx, h.cfg.Timeout)
	defer cancel()
	x.ctx = ctx
	c := tls.Server(x, h.cfg.TLS)
	err := c.HandshakeContext(ctx)
	x.leave()
	if err != nil && ctx.Err() == nil {
		x.refuse(err)
	}
	if h.over(x); err != nil {
		_ = x.Conn.Close()
		h.log(x, err)
		return
	}
	h.encrypted.Add(1)
	select {
	case h.ready <- c:
	case <-h.ctx.Done():
		_ = x.Conn.Close()
	}
}

// over counts a handshake no longer, unless it was closed, and so is not.
func (h *Handshakes) over(x *handshake) {
	h.mu.Lock()
	defer h.mu.Unlock()
	x.done = true
	if !x.crowded {
		h.under--
	}
}

// log tells of a handshake that failed, and of no more than one a second.
func (h *Handshakes) log(x *handshake, err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if x.crowded {
		err = errors.New("it had waited longest for its client when there were too many (--max-handshakes)")
	} else {
		h.failures.Add(1)
	}
	h.silent++
	if now := time.Now(); now.Sub(h.logged) >= time.Second && h.ctx.Err() == nil {
		h.cfg.Logger.Warn("TLS handshake error", "remote", x.RemoteAddr(), "error", err, "failed", h.silent)
		h.logged, h.silent = now, 0
	}
}

// refuse ends a handshake of which the client was told that it failed, or is told so now, if it speaks HTTP. Then it discards what the client
// still sends, until it hangs up: a connection that is closed with unread data is reset, and that may cost it the reason.
func (x *handshake) refuse(err error) {
	const most = 64 << 10
	if plain, ok := errors.AsType[tls.RecordHeaderError](err); ok && plain.Conn != nil && slices.Contains(methods, string(plain.RecordHeader[:])) {
		_, _ = io.WriteString(x.Conn, "HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n")
	}
	if x.CloseWrite() != nil {
		return
	}
	if x.SetReadDeadline(time.Now().Add(lingering)) != nil {
		return
	}
	x.wait()
	_, _ = io.CopyN(io.Discard, x.Conn, most)
	x.woken()
}

// Read gives up the processor while it waits for the client.
func (x *handshake) Read(b []byte) (int, error) {
	if x.done {
		return x.Conn.Read(b)
	}
	x.leave()
	x.wait()
	n, err := x.Conn.Read(b)
	if !x.woken() {
		return 0, net.ErrClosed
	}
	if err == nil {
		err = x.enter()
	}
	return n, err
}

func (x *handshake) wait() {
	x.of.mu.Lock()
	defer x.of.mu.Unlock()
	if !x.crowded {
		x.waits = x.of.idle.PushBack(x)
	}
}

// woken reports whether it may go on.
func (x *handshake) woken() bool {
	x.of.mu.Lock()
	defer x.of.mu.Unlock()
	if x.waits != nil {
		x.of.idle.Remove(x.waits)
		x.waits = nil
	}
	return !x.crowded
}

// enter waits for a processor.
func (x *handshake) enter() error {
	select {
	case x.of.slots <- struct{}{}:
		x.slot = true
		return nil
	case <-x.ctx.Done():
		return x.ctx.Err()
	}
}

func (x *handshake) leave() {
	if x.slot {
		x.slot = false
		<-x.of.slots
	}
}

// CloseWrite lets net/http shut down the writing side before it closes the connection.
func (x *handshake) CloseWrite() error {
	if w, ok := x.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
