package lockserver

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"time"
)

// verdict is what an error is to the retry loop.
type verdict int

const (
	raise  verdict = iota
	retry          // the same request may succeed later
	handle         // an answer that the caller knows what to do with
)

// call is one operation that is sent until it has its answer. Here, and nowhere else, is decided whether to send again.
type call struct {
	client   *Client
	op       *operation
	resource string
	next     func(now time.Time) attempt // without what is the same for all of them
	limit    time.Duration               // how long to go on without any answer

	hard     bool            // limit counts although the context has a deadline
	once     bool            // sent again only while it certainly never arrived
	cleanup  bool            // goes on while the client closes
	stubborn bool            // what is raised elsewhere is retried too
	over     func() error    // says why there is no use any more, once there is not
	ended    <-chan struct{} // ends a pause, so that over is asked

	began    time.Time
	again    bool      // it is not the first attempt
	early    begun     // the first attempt, if it was made ahead
	heard    time.Time // the last answer or other sign of life, or the start
	backoff  backoff
	round    int           // attempts since the last pause, each at another server
	after    time.Duration // the longest that one of them asks to wait
	trouble  *Error        // the last failure
	obstacle string        // what stood in the way last
	on       any           // the session that the last answer came over, or nil
	tried    int           // attempts that may have had their effect
	drained  int           // as many of them were refused by a server that shuts down
}

// newCall starts the clocks of a call; its other fields may be set afterwards.
func (c *Client) newCall(op *operation, resource string, limit time.Duration, next func(now time.Time) attempt) call {
	now := time.Now()
	return call{
		client: c, op: op, resource: resource, next: next, limit: limit, began: now, heard: now,
		backoff: backoff{first: c.bounds.BackoffFirst, most: c.bounds.BackoffMost},
	}
}

// run returns once out is the answer, or with what else became of the call. It can be run again: pauses and patience go on.
func (c *call) run(ctx context.Context, out reply) error {
	for {
		waits, o := false, outcome{}
		if p := c.early; p != nil {
			c.early = nil
			o = p.await(ctx)
		} else {
			now := c.began
			if c.again {
				now = time.Now()
			}
			c.again = true
			if err := c.giveUp(ctx, now); err != nil {
				return err
			}
			a := c.attempt(ctx, now)
			o = c.client.transport.send(ctx, a)
			waits = a.wait > 0
		}
		c.on = o.on
		if !o.heard.IsZero() {
			c.heard = o.heard
			if waits {
				c.limit = c.client.bounds.SilenceQueued
			}
		}
		failure, err := c.judge(ctx, &o, out)
		if failure == nil {
			return about(c.resource, err)
		}
		if c.obstacle == "" || ctx.Err() == nil && c.patience(ctx, time.Now()) > 0 { // else it is only that time ran out
			c.trouble, c.obstacle = failure, failure.short
		}
		delay := c.delay(&o, failure)
		level := slog.LevelDebug
		if c.stubborn {
			level = slog.LevelWarn
		}
		c.client.logger.Log(ctx, level, "lockserver: "+c.op.name+" is retried", "resource", c.resource, "in", delay, "error", err)
		c.pause(ctx, delay)
	}
}

// attempt makes the next attempt.
func (c *call) attempt(ctx context.Context, now time.Time) attempt {
	a := c.next(now)
	a.op, a.began, a.limit, a.again = c.op, now, c.patience(ctx, now), c.round > 0 || c.backoff.failed()
	if !c.cleanup {
		a.life = c.client.life
	}
	return a
}

// ahead begins the first attempt of a clean-up, if the transport can do that without a goroutine, and waits for its outcome as long as ctx
// lasts. It returns true if run will succeed with that.
func (c *call) ahead(ctx context.Context) bool {
	early := c.client.transport.start(c.attempt(ctx, c.began))
	if early == nil {
		return false
	}
	c.again, c.early = true, early
	return early.succeeds(ctx)
}

// delay returns how long to pause after an attempt that failed: only once every server was asked.
func (c *call) delay(o *outcome, failure *Error) time.Duration {
	c.round++
	c.after = max(c.after, failure.RetryAfter)
	if o.elsewhere && c.round < c.client.transport.addresses() {
		return 0
	}
	delay := c.backoff.after(c.after)
	c.round, c.after = 0, 0
	return delay
}

// judge decides what an outcome means. It returns a failure if the request is to be sent again.
func (c *call) judge(ctx context.Context, o *outcome, out reply) (again *Error, err error) {
	if o.answer.status != 0 {
		err = c.op.read(&o.answer, out)
	} else {
		failure := &Error{Code: ErrConnectionFailed, Message: o.reason, Status: o.status, cause: o.cause, short: o.reason, verdict: retry}
		if o.permanent {
			failure.verdict = raise
		}
		if failure.cause == nil {
			failure.cause = ctx.Err() // of a call that is not repeated, this is the end
		}
		err = failure
	}
	if err == nil {
		c.tried++
		return nil, nil
	}
	var failure *Error
	errors.As(err, &failure) // which every error of an outcome is, or wraps
	failure.hide(c.client.secret)
	if !o.unsent && !failure.refused {
		c.tried++
	}
	if failure.Code == ErrDraining {
		c.drained++
	}
	if failure.verdict == retry && (o.unsent || !c.once) || c.stubborn && failure.Code != ErrNotHeld {
		return failure, err
	}
	return nil, err
}

// giveUp returns an error when it is time to.
func (c *call) giveUp(ctx context.Context, now time.Time) error {
	if c.over != nil {
		if err := c.over(); err != nil {
			return err
		}
	}
	switch {
	case ctx.Err() != nil:
		return gaveUp(ctx, c.op, c.resource, c.began, c.obstacle)
	case !c.cleanup && c.client.life.Err() != nil:
		return closedError(c.resource)
	case c.patience(ctx, now) <= 0:
		failure := &Error{Code: ErrConnectionFailed, Resource: c.resource, Message: "no answer for " + inSeconds(c.limit)}
		if c.trouble != nil {
			failure.Message, failure.cause = failure.Message+": "+c.trouble.short, c.trouble
		}
		return failure
	}
	return nil
}

// patience returns how long the server may stay silent from now on.
func (c *call) patience(ctx context.Context, now time.Time) time.Duration {
	if _, limited := ctx.Deadline(); limited && !c.hard {
		return 1<<63 - 1
	}
	return max(0, c.limit-now.Sub(c.heard))
}

// pause waits for d, and less if it is time to give up before.
func (c *call) pause(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	d = min(d, c.patience(ctx, time.Now()))
	if d <= 0 {
		return
	}
	var closing <-chan struct{}
	if !c.cleanup {
		closing = c.client.life.Done()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-closing:
	case <-c.ended:
	}
}

// gaveUp is the error of a call whose context ended.
func gaveUp(ctx context.Context, op *operation, resource string, began time.Time, obstacle string) error {
	err := ctx.Err()
	if cause := context.Cause(ctx); !errors.Is(cause, err) {
		err = fmt.Errorf("%w: %w", err, cause)
	}
	if !errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("lockserver: %s: %w", op.undone(resource), err)
	}
	limit := time.Since(began)
	if deadline, ok := ctx.Deadline(); ok {
		limit = max(0, deadline.Sub(began))
	}
	text := fmt.Sprintf("%s within %s", op.undone(resource), inSeconds(limit))
	if obstacle != "" {
		text += ": " + obstacle
	}
	return &Error{Code: ErrLockTimeout, Resource: resource, Message: text, cause: err}
}

// about adds the resource to an error that came from an answer.
func about(resource string, err error) error {
	if err == nil {
		return nil
	}
	var failure *Error
	if errors.As(err, &failure) && failure.Resource == "" {
		failure.Resource = resource
	}
	return err
}

// backoff spaces out the retries of one call: the first comes at once, the others after a pause that grows.
type backoff struct {
	first, most time.Duration
	failures    int
}

// after returns how long to pause after an attempt that failed, and at least as long as the server asks.
func (b *backoff) after(atLeast time.Duration) time.Duration {
	b.failures++
	if b.failures == 1 {
		return atLeast
	}
	pause := b.first
	for range b.failures - 2 {
		if pause *= figureBackoffFactor; pause >= b.most {
			break
		}
	}
	random := time.Duration(figureBackoffJitter * float64(min(pause, b.most)))
	return max(min(pause, b.most)-random+rand.N(random+1), atLeast)
}

// failed tells whether the last attempt did.
func (b *backoff) failed() bool { return b.failures > 0 }

func (b *backoff) reset() { b.failures = 0 }
