package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// rivals wait for the same lock, and hand it on to one another.
type rivals struct {
	mu       sync.Mutex
	turns    int
	token    int64 // of the newest grant that was answered, and so the highest
	sent     bool  // its release was sent
	released bool  // its release was answered
}

const contended = "contended"

// work lets n rivals work until their server stops answering.
func (r *rivals) work(ctx context.Context, n int, c *client) error {
	var group sync.WaitGroup
	problems := make(chan error, n)
	for i := range n {
		group.Go(func() {
			for more := true; more; {
				var err error
				if more, err = r.turn(ctx, fmt.Sprint("rival ", i), c); err != nil {
					problems <- err
					return
				}
			}
		})
	}
	group.Wait()
	select {
	case err := <-problems:
		return err
	default:
		return nil
	}
}

func (r *rivals) turn(ctx context.Context, owner string, c *client) (more bool, err error) {
	r.mu.Lock()
	r.turns++
	f := fields{"resource": contended, "owner": owner, "id": fmt.Sprint("turn ", r.turns), "expire": 300, "wait": 30}
	r.mu.Unlock()
	a, gone := c.try(ctx, "POST", "/acquire", f)
	if gone != nil || a.Code == "draining" {
		return false, nil
	}
	if a.status != 200 {
		return false, fmt.Errorf("%v: status %d, code %s", f, a.status, a.Code)
	}
	r.mu.Lock()
	if r.token != 0 && !r.sent {
		err = fmt.Errorf("grant %d was answered while %d was held", a.Token, r.token)
	} else if a.Token <= r.token {
		err = fmt.Errorf("token %d after %d", a.Token, r.token)
	}
	r.token, r.sent, r.released = a.Token, false, false
	r.mu.Unlock()
	if err != nil {
		return false, err
	}
	time.Sleep(time.Duration(rand.IntN(3000)) * time.Microsecond) // the work under the lock
	r.mu.Lock()
	r.sent = true
	r.mu.Unlock()
	b, gone := c.try(ctx, "POST", "/release", fields{"resource": contended, "owner": owner, "token": a.Token})
	if gone != nil {
		return false, nil
	}
	if b.status != 200 {
		return false, fmt.Errorf("release of %d: status %d, code %s", a.Token, b.status, b.Code)
	}
	r.mu.Lock()
	r.released = r.released || r.token == a.Token
	r.mu.Unlock()
	return true, nil
}

// check compares what a restarted server holds with what the rivals know, and frees the lock for their next round.
func (r *rivals) check(t *testing.T, c *client) {
	t.Helper()
	got := c.show(t, contended)
	if got.status == 404 {
		require.True(t, r.token == 0 || r.sent, "the grant %d was answered, and is gone", r.token)
		return
	}
	require.Len(t, got.Holders, 1)
	token := got.Holders[0].Token
	switch {
	case r.token != 0 && !r.sent:
		require.Equal(t, r.token, token)
	case r.token != 0 && !r.released:
		require.GreaterOrEqual(t, token, r.token)
	default:
		require.Greater(t, token, r.token, "its release was answered, and it is there")
	}
	require.Equal(t, 200, c.do(t, "DELETE", "/lock?resource="+contended, nil).status)
	r.token, r.sent, r.released = token, true, true
}
