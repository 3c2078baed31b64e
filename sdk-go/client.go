package lockserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	"github.com/lockserver/lockserver/sdk-go/internal/tuning"
)

// Client talks to one server. It is safe for concurrent use, and one is enough for a program: it keeps its connections and uses them
// again. The goroutines that share it exclude each other like strangers.
type Client struct {
	addr      string
	owner     string
	transport transport
	logger    *slog.Logger
	tuning    tuning.Tuning

	// life ends with Close, and with it everything that waits.
	life context.Context
	end  context.CancelFunc

	mu      sync.Mutex
	closed  bool
	pending int        // calls and clean-ups that Close waits for
	drained *sync.Cond // pending is 0
	held    map[string]*Lock
}

// New makes a client. Each setting is taken from its option, else from the environment (LOCKSERVER_ADDR, LOCKSERVER_OWNER,
// LOCKSERVER_SECRET), else from .env in the working directory, which is only read and never put into the environment. A setting that is
// wrong, and a missing secret, is an error with the code ErrConfigInvalid. New does not talk to the server.
func New(opts ...Option) (*Client, error) {
	var s settings
	for _, opt := range opts {
		opt(&s)
	}
	if err := s.resolve(); err != nil {
		return nil, err
	}
	base, err := parseAddr(s.addr)
	if err != nil {
		return nil, err
	}
	if s.logger == nil {
		s.logger = slog.New(slog.DiscardHandler)
	}
	s.tuning = s.tuning.WithDefaults()

	c := &Client{
		addr:      base.String(),
		owner:     s.owner,
		transport: newHTTPTransport(base, &s),
		logger:    s.logger,
		tuning:    s.tuning,
		held:      make(map[string]*Lock),
	}
	c.life, c.end = context.WithCancel(context.Background())
	c.drained = sync.NewCond(&c.mu)
	return c, nil
}

// Addr returns the URL of the server.
func (c *Client) Addr() string { return c.addr }

// Owner returns the label under which this client's locks are shown.
func (c *Client) Owner() string { return c.owner }

// String names the client by server and owner, never by its secret.
func (c *Client) String() string {
	return fmt.Sprintf("lockserver.Client(%s, owner %s)", c.addr, c.owner)
}

// GoString is the same as String.
func (c *Client) GoString() string { return c.String() }

// Close ends everything that the client does: calls that wait fail (and leave nothing held), renewal stops, and connections are closed.
// It returns once that is done, at most some 5 s later. Locks that were renewed count as lost from then on. Locks that were not stay
// as they are, and can still be released; those with a lease run out by themselves. Closing twice does no harm, and the error is always
// nil.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	var renewed []*Lock
	for _, first := range c.held {
		for l := first; l != nil; l = l.next {
			if l.renewed {
				renewed = append(renewed, l)
			}
		}
	}
	c.mu.Unlock()

	c.transport.close() // what is sent from now on gets no connection that could stay behind
	c.end()
	for _, l := range renewed {
		l.lose(ReasonClosed, "the client was closed, which ended the renewal")
	}
	c.mu.Lock()
	for c.pending > 0 {
		c.drained.Wait()
	}
	c.mu.Unlock()
	c.transport.close()
	return nil
}

// begin registers a call that Close has to wait for, and refuses it where the client is closed.
func (c *Client) begin(resource string) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return closedError(resource)
	}
	c.pending++
	return nil
}

// beginCleanup registers one that takes place even so.
func (c *Client) beginCleanup() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.pending++
}

func (c *Client) done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending--; c.pending == 0 {
		c.drained.Broadcast()
	}
}

func closedError(resource string) *Error {
	return &Error{Code: ErrConnectionFailed, Resource: resource, Message: "the client is closed", cause: net.ErrClosed}
}

// attempt makes one call within a bound of its own. It ends early with ctx, and with the client.
func (c *Client) attempt(ctx context.Context, bound time.Duration, what call, out any) (answer, error) {
	bounded, cancel := context.WithTimeout(ctx, bound)
	defer cancel()
	defer context.AfterFunc(c.life, cancel)()
	got, err := c.transport.do(bounded, what, out)
	return got, c.explain(ctx, bounded, bound, err)
}

// explain says of a call that was cut short what cut it, in place of what net/http makes of that.
func (c *Client) explain(ctx, bounded context.Context, bound time.Duration, err error) error {
	var failure *Error
	if err == nil || bounded.Err() == nil || !errors.As(err, &failure) || failure.Code != ErrConnectionFailed || failure.Status != 0 {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return &Error{Code: ErrConnectionFailed, Message: "the call was ended", cause: ctx.Err()}
	case c.life.Err() != nil && errors.Is(bounded.Err(), context.Canceled):
		return closedError("")
	}
	return &Error{Code: ErrConnectionFailed, Message: fmt.Sprintf("no answer within %v from %s", bound.Round(time.Millisecond), c.addr)}
}

// cleanup runs f, which must reach the server whatever became of the caller's context, on a context that outlives it; f bounds itself by
// the clean-up time-out. cleanup returns false when the caller's context and the grace after it ended before f, which then goes on, and
// Close waits for it.
func (c *Client) cleanup(ctx context.Context, f func(context.Context)) bool {
	own := context.WithoutCancel(ctx)
	c.beginCleanup()
	if ctx.Done() == nil {
		defer c.done()
		f(own)
		return true
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		defer c.done()
		f(own)
	}()
	return c.await(ctx, ended)
}

// await returns true when a clean-up has ended, and false when ctx and the grace after it ended first.
func (c *Client) await(ctx context.Context, ended <-chan struct{}) bool {
	select {
	case <-ended:
		return true
	case <-ctx.Done():
	}
	grace := time.NewTimer(c.tuning.CleanupGrace)
	defer grace.Stop()
	select {
	case <-ended:
		return true
	case <-grace.C:
		return false
	}
}

// keep remembers a lock as held here, so that Close finds it. It returns false where Close has been called.
func (c *Client) keep(l *Lock) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	if first := c.held[l.resource]; first != nil {
		l.next, first.prev = first, l
	}
	c.held[l.resource] = l
	return true
}

// forget is its reverse.
func (c *Client) forget(l *Lock) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held[l.resource] != l && l.prev == nil {
		return
	}
	if l.next != nil {
		l.next.prev = l.prev
	}
	switch {
	case l.prev != nil:
		l.prev.next = l.next
	case l.next != nil:
		c.held[l.resource] = l.next
	default:
		delete(c.held, l.resource)
	}
	l.prev, l.next = nil, nil
}
