package play

import (
	"context"
	"fmt"
	"net"
	"time"

	"github.com/lockserver/lockserver/conformance/internal/driver"
)

// op is something that was begun and ends by itself: a driver's request, or one of the runner's own to the server, which has no ID.
type op struct {
	*driver.Pending
	name    string
	conn    net.Conn // of a tcp step
	session *session // of a session step
	cancel  func()   // of the runner's own
}

// begin begins a request of the runner's own, which do carries out.
func begin(name string, cancel func(), do func() (map[string]any, error)) *op {
	o := &op{Pending: &driver.Pending{Sent: time.Now(), Done: make(chan struct{})}, name: name, cancel: cancel}
	go func() {
		defer close(o.Done)
		var err error
		if o.Answer.OK, err = do(); err != nil {
			o.Answer.OK = map[string]any{"status": 0, "failed": err.Error()} // it got no answer
		}
		o.Ended = time.Now()
	}()
	return o
}

func over(done <-chan struct{}) bool {
	select {
	case <-done:
		return true
	default:
		return false
	}
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
