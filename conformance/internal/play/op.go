package play

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/lockserver/lockserver/conformance/internal/driver"
)

// op is something that was begun and ends by itself: a driver's request, or one that the runner sends to the server.
type op struct {
	name    string
	pending *driver.Pending // of a driver's request
	done    chan struct{}
	sent    time.Time
	ended   time.Time // valid once done
	ok      map[string]any
	failed  map[string]any // an SDK's error
	err     error          // anything that no case can expect
	conn    net.Conn       // of a tcp step
	cancel  context.CancelFunc
}

func (o *op) abandon() {
	if o.cancel != nil {
		o.cancel()
	}
}

func fromDriver(name string, p *driver.Pending) *op {
	o := &op{name: name, pending: p, done: make(chan struct{}), sent: p.Sent}
	go func() {
		<-p.Done
		o.ended = p.Ended
		o.ok, o.failed = p.Answer.OK, p.Answer.Error
		if p.Answer.Fault != "" {
			o.err = fmt.Errorf("the driver: %s", p.Answer.Fault)
		}
		close(o.done)
	}()
	return o
}

func (o *op) isDone() bool {
	select {
	case <-o.done:
		return true
	default:
		return false
	}
}

func (o *op) happened(event string) bool {
	if o.pending == nil {
		return false
	}
	select {
	case <-o.pending.Event(event).Done:
		return true
	default:
		return false
	}
}

// outcome is the op's end for people.
func (o *op) outcome() string {
	switch {
	case o.err != nil:
		return o.err.Error()
	case o.failed != nil:
		return fmt.Sprintf("error %s", show(o.failed))
	}
	return show(o.ok)
}

// wait waits for the op's end.
func (o *op) wait(ctx context.Context, limit time.Duration) error {
	return await(ctx, o.done, limit, o.name)
}

func await(ctx context.Context, done <-chan struct{}, limit time.Duration, what string) error {
	timer := time.NewTimer(limit)
	defer timer.Stop()
	select {
	case <-done:
		return nil
	case <-timer.C:
		return fmt.Errorf("%s: not within %v", what, limit)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", what, ctx.Err())
	}
}
