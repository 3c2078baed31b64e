package lockserver

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"time"

	internal "github.com/lockserver/lockserver/sdk-go/internal/settings"
)

// Client talks to a server, or to any of those of a cluster. It is safe for concurrent use, and one is enough for a program: it keeps its connections and uses them
// again. The goroutines that share it exclude each other like strangers.
type Client struct {
	addr      string
	secret    string // to keep it out of errors
	owner     string
	transport transport
	logger    *slog.Logger
	keeper    *keeper
	clock     clock
	bounds    internal.Bounds

	// life ends with Close, and with it everything that waits.
	life context.Context
	end  context.CancelFunc

	mu      sync.Mutex
	closed  bool
	pending int                // calls and clean-ups that Close waits for
	drained *sync.Cond         // pending is 0
	held    map[string]*Lock   // by resource: the newest, which knows the others
	early   map[int64]struct{} // tokens that the server told to be lost before they were held here
	losses  map[string]*Lock   // by resource: the last one lost, which Release must not take for none
}

// New makes a client. Each setting is taken from its option, else from the environment (LOCKSERVER_ADDR, LOCKSERVER_OWNER,
// LOCKSERVER_SECRET), else from .env in the working directory, which is only read and never put into the environment. A setting that is
// wrong, and a missing secret, is an error with the code ErrConfigInvalid. New does not talk to the server.
func New(opts ...Option) (*Client, error) {
	var s settings
	for _, opt := range opts {
		opt(&s)
	}
	if err := resolve(&s); err != nil {
		return nil, err
	}
	addresses, err := parseAddrs(s.Addr)
	if err != nil {
		return nil, err
	}
	proxy, err := parseProxy(s.Proxy)
	if err != nil {
		return nil, err
	}
	over, addr := newServers(&s, addresses, proxy), joined(addresses)
	if Transport(s.Transport) == HTTP {
		return newClient(&s, addr, over), nil
	}
	sessions := newSessionTransport(over, &s)
	c := newClient(&s, addr, sessions)
	sessions.lost, sessions.left = c.lost, c.keeper.left
	return c, nil
}

// newClient makes a client over any transport.
func newClient(s *settings, addr string, t transport) *Client {
	c := &Client{
		addr: addr, secret: s.Secret, owner: s.Owner, transport: t, logger: s.Logger, clock: s.Clock, bounds: s.Bounds,
		held: make(map[string]*Lock), early: make(map[int64]struct{}), losses: make(map[string]*Lock),
	}
	c.keeper = newKeeper(c)
	c.life, c.end = context.WithCancel(context.Background())
	c.drained = sync.NewCond(&c.mu)
	return c
}

// Addr returns the URL of the server; of several, with commas between them.
func (c *Client) Addr() string { return c.addr }

// Owner returns the label under which this client's locks are shown.
func (c *Client) Owner() string { return c.owner }

// String names the client by address and owner, never by its secret.
func (c *Client) String() string {
	return fmt.Sprintf("lockserver.Client(%s, owner %s)", c.addr, c.owner)
}

// GoString is the same as String.
func (c *Client) GoString() string { return c.String() }

// Close ends everything that the client does: calls that wait fail (and leave nothing held), renewal stops, and connections are closed.
// It returns once that is done, at most some 5 s later. Locks that were renewed count as lost from then on. Locks that were not stay
// as they are, and can still be released with [Lock.Release]; those with a lease run out by themselves. A closed client refuses every
// call. Closing twice does no harm, and the error is always nil.
func (c *Client) Close() error {
	c.mu.Lock()
	c.closed = true
	var renewed []*Lock
	for _, l := range c.held {
		for ; l != nil; l = l.beside {
			if l.renewed {
				renewed = append(renewed, l)
			}
		}
	}
	c.mu.Unlock()

	c.keeper.close()
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

// Release gives back what this client holds of the resource: the one [Lock] of it that this client acquired and still holds, or, if there
// is none, whatever its owner holds there, which is how a program can free a lock of an earlier run under the same owner. If it holds
// several, ErrTokenRequired asks for [Lock.Release]. What is not held is ErrNotHeld; so is a lock of this client that was lost, and
// nothing that came after it is freed. It is bounded and ends as Lock.Release does; by owner it is sent once, so that an
// ErrConnectionFailed leaves open what happened.
func (c *Client) Release(ctx context.Context, resource string) error {
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return closedError(resource)
	}
	var mine []*Lock
	for l := c.held[resource]; l != nil; l = l.beside {
		mine = append(mine, l)
	}
	if l := c.losses[resource]; len(mine) == 0 && l != nil {
		delete(c.losses, resource)
		if !l.asked.Load() {
			mine = []*Lock{l}
		}
	}
	c.mu.Unlock()
	switch len(mine) {
	case 0:
		return c.releaseByOwner(ctx, resource)
	case 1:
		wasHeld, err := mine[0].Release(ctx)
		if err == nil && !wasHeld {
			err = &Error{Code: ErrNotHeld, Resource: resource, Reason: mine[0].lossReason(), Message: "it was lost before"}
		}
		return err
	}
	return &Error{Code: ErrTokenRequired, Resource: resource, Message: "this client holds it several times: release the lock that is meant"}
}

func (c *Client) releaseByOwner(ctx context.Context, resource string) error {
	if err := (&acquireOptions{}).check(resource); err != nil {
		return err
	}
	if err := c.begin(resource); err != nil {
		return err
	}
	defer c.done()
	request, limit := releaseRequest{Resource: resource, Owner: c.owner}, c.bounds.Cleanup
	release := c.newCall(&opRelease, resource, limit, func(time.Time) attempt { return attempt{request: &request, bound: limit} })
	release.cleanup, release.hard, release.once = true, true, true
	var err error
	if !c.cleanup(ctx, &release, func(own context.Context) { err = release.run(own, &releaseAnswer{}) }) {
		return gaveUp(ctx, &opRelease, resource, release.began, "")
	}
	return err
}

// List returns a page of what is locked, the oldest first. If the connection breaks it asks again, until ctx ends, which gives the same
// errors as in [Client.Acquire], or for 30 s if ctx has no deadline (ErrConnectionFailed).
func (c *Client) List(ctx context.Context, o ListOptions) (*Page, error) {
	var answer wirePage
	if err := c.look(ctx, "", &opList, &listRequest{Prefix: o.Prefix, Owner: o.Owner, Limit: o.Limit, Cursor: o.Cursor}, &answer); err != nil {
		return nil, err
	}
	page := &Page{Next: answer.Next, Locks: make([]LockInfo, len(answer.Locks))}
	for i := range answer.Locks {
		page.Locks[i] = *answer.Locks[i].info()
	}
	return page, nil
}

// Show returns who holds a resource and who waits for it. One that is free is ErrNotFound. It asks again and gives up as [Client.List] does.
func (c *Client) Show(ctx context.Context, resource string) (*LockInfo, error) {
	var answer wireLock
	if err := c.look(ctx, resource, &opShow, &lockRequest{Resource: resource}, &answer); err != nil {
		return nil, err
	}
	return answer.info(), nil
}

// ForceRelease takes the resource from whoever holds it, for operators. With a token other than 0 it takes only that grant. It returns
// who was evicted; if nothing is held that is ErrNotFound. An evicted holder hears of it at once over a session, else only at its next
// renewal or deadline. The request is sent once, and bounded by 10 s, so that an ErrConnectionFailed leaves open what happened.
func (c *Client) ForceRelease(ctx context.Context, resource string, token int64) ([]Holder, error) {
	if err := c.begin(resource); err != nil {
		return nil, err
	}
	defer c.done()
	request, limit := lockRequest{Resource: resource, Token: token}, c.bounds.Answer
	release := c.newCall(&opForceRelease, resource, limit, func(time.Time) attempt { return attempt{request: &request, bound: limit} })
	release.hard, release.once = true, true
	var answer wireEvicted
	if err := release.run(ctx, &answer); err != nil {
		return nil, err
	}
	return holders(answer.Evicted), nil
}

// look asks until there is an answer.
func (c *Client) look(ctx context.Context, resource string, op *operation, request any, out reply) error {
	if err := c.begin(resource); err != nil {
		return err
	}
	defer c.done()
	asking := c.newCall(op, resource, c.bounds.Silence, func(time.Time) attempt { return attempt{request: request, bound: c.bounds.Answer} })
	return asking.run(ctx, out)
}

// begin registers a call that Close has to wait for, and refuses it if the client is closed.
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

// release is a release that names its grant, and so does no harm when it arrives twice. It is sent until the server answers or the
// clean-up time-out ends.
type release struct {
	call
	request releaseRequest
	answer  releaseAnswer
	end     time.Time
	got     releaseResult // what giveBack returned
	err     error
}

func (c *Client) newRelease(request releaseRequest) *release {
	r := &release{request: request}
	r.call = c.newCall(&opRelease, request.Resource, c.bounds.Cleanup, r.next)
	r.cleanup, r.hard, r.end = true, true, r.began.Add(r.limit)
	return r
}

func (r *release) next(now time.Time) attempt {
	left := max(r.end.Sub(now), time.Millisecond)
	// Half of it, so that one connection that has gone silent leaves time for another.
	return attempt{request: &r.request, bound: max(left/2, min(left, 100*time.Millisecond))}
}

// send returns how many attempts may have had their effect.
func (r *release) send(ctx context.Context) (attempts int, err error) {
	err = r.run(ctx, &r.answer)
	return r.tried - r.drained, err // a server that drains says that it did nothing
}

// cleanup runs f, which must reach the server whatever became of the caller's context, on a context that outlives it; f runs the call and
// bounds itself by the clean-up time-out. cleanup returns false when the caller's context and the grace after it ended before f, which
// then goes on, and Close waits for it. If the first attempt is answered before that, no goroutine is needed.
func (c *Client) cleanup(ctx context.Context, first *call, f func(context.Context)) bool {
	own := context.WithoutCancel(ctx)
	c.beginCleanup()
	if ctx.Done() == nil || first.ahead(ctx) {
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
	grace := time.NewTimer(c.bounds.Grace)
	defer grace.Stop()
	select {
	case <-ended:
		return true
	case <-grace.C:
		return false
	}
}

// lost is told by the transport that the server ended a grant.
func (c *Client) lost(resource string, token int64, reason string) {
	c.mu.Lock()
	var mine *Lock
	for l := c.held[resource]; l != nil; l = l.beside {
		if l.token == token {
			mine = l
		}
	}
	if mine == nil { // it may be on its way here; most often its release is on its way back
		if len(c.early) == maxEarly {
			clear(c.early)
		}
		c.early[token] = struct{}{}
	}
	c.mu.Unlock()
	c.keeper.gone(token)
	if mine != nil {
		mine.loseByServer(&Error{Code: ErrNotHeld, Reason: reason})
	}
}

const maxEarly = 1024

// keep remembers a lock as held here, so that Close finds it. It returns false if Close has been called, or if it is lost already.
func (c *Client) keep(l *Lock) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if _, gone := c.early[l.token]; gone || c.closed {
		delete(c.early, l.token)
		return false
	}
	l.beside = c.held[l.resource]
	c.held[l.resource] = l
	delete(c.losses, l.resource)
	return true
}

// lose is forget for a lock that was lost.
func (c *Client) lose(l *Lock) {
	c.forget(l)
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.losses) == figureLosses {
		for resource := range c.losses { // any of them
			delete(c.losses, resource)
			break
		}
	}
	c.losses[l.resource] = l
}

// forget is its reverse.
func (c *Client) forget(l *Lock) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for before, at := (*Lock)(nil), c.held[l.resource]; at != nil; before, at = at, at.beside {
		switch {
		case at != l:
			continue
		case before != nil:
			before.beside = l.beside
		case l.beside != nil:
			c.held[l.resource] = l.beside
		default:
			delete(c.held, l.resource)
		}
		l.beside = nil
		return
	}
}
