package e2e

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// known is what one client knows of one resource, which nobody else uses, from the answers that it got.
type known struct {
	held    bool
	id      string
	token   int64
	lease   float64 // seconds; 0: held until released
	doubt   bool    // a request was sent, and no answer came
	highest int64   // of all tokens ever answered
}

// worker takes, renews and releases its own resources, one after the other.
type worker struct {
	number    int
	resources []known
	calls     atomic.Int64
	ids       int
}

func newWorkers(n, resources int) []*worker {
	var workers []*worker
	for i := range n {
		workers = append(workers, &worker{number: i, resources: make([]known, resources)})
	}
	return workers
}

func (w *worker) name(resource int) string { return fmt.Sprintf("w%d/r%d", w.number, resource) }
func (w *worker) owner() string            { return fmt.Sprintf("w%d", w.number) }

// load lets all workers work until their server stops answering, or refuses to go on. It returns what went wrong.
func load(ctx context.Context, workers []*worker, c *client) error {
	var group sync.WaitGroup
	problems := make(chan error, len(workers))
	for _, w := range workers {
		group.Go(func() {
			for ctx.Err() == nil {
				more, err := w.step(ctx, c)
				if err != nil {
					problems <- err
				}
				if !more || err != nil {
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

// step makes one request. more is false where no answer came, or that the server shuts down.
func (w *worker) step(ctx context.Context, c *client) (more bool, err error) {
	i := rand.IntN(len(w.resources))
	k := &w.resources[i]
	path, f := "/acquire", fields{"resource": w.name(i), "owner": w.owner()}
	next := *k
	switch {
	case k.held && k.lease > 0 && rand.IntN(3) == 0:
		next.lease += float64(rand.IntN(2) * 60) // every other one does not lengthen, and so needs no commit
		path, f["token"], f["expire"] = "/renew", k.token, next.lease
	case k.held:
		path, f["token"] = "/release", k.token
		next = known{highest: k.highest}
	default:
		w.ids++
		next.held, next.lease = true, float64(rand.IntN(3)*300)
		if next.lease > 0 {
			f["expire"] = next.lease
		}
		if next.id = ""; rand.IntN(2) == 0 {
			next.id = fmt.Sprint("id", w.ids)
			f["id"] = next.id
		}
	}
	k.doubt = true
	a, err := c.try(ctx, "POST", path, f)
	if err != nil {
		return false, nil // the server is gone: it is not known what it did
	}
	k.doubt = false
	w.calls.Add(1)
	if a.Code == "draining" {
		return false, nil
	}
	if a.status != 200 {
		return false, fmt.Errorf("%s %v: status %d, code %s, %s", path, f, a.status, a.Code, a.Detail)
	}
	if path == "/acquire" {
		if a.Token <= k.highest {
			return false, fmt.Errorf("%v: token %d after %d", f, a.Token, k.highest)
		}
		next.token, next.highest = a.Token, a.Token
	}
	*k = next
	return true, nil
}

// check compares what a restarted server holds with what the workers know, and takes over what they were in doubt of.
// since is a time before the restart.
func check(t *testing.T, workers []*worker, c *client, since time.Time) {
	t.Helper()
	for _, w := range workers {
		for i := range w.resources {
			k := &w.resources[i]
			got := c.show(t, w.name(i))
			if got.status == 404 {
				require.True(t, !k.held || k.doubt, "%s: the grant %d was answered, and is gone", w.name(i), k.token)
				*k = known{highest: k.highest}
				continue
			}
			require.Equal(t, 200, got.status)
			require.Len(t, got.Holders, 1)
			h := got.Holders[0]
			require.Equal(t, w.owner(), h.Owner)
			if !k.doubt {
				require.True(t, k.held, "%s: the release was answered, and the grant %d is there", w.name(i), h.Token)
				require.Equal(t, k.token, h.Token)
				require.Equal(t, k.id, h.ID)
			}
			if !k.held {
				require.Greater(t, h.Token, k.highest)
			}
			// The whole lease again, less what has passed since.
			left := 0.0
			if h.ExpiresIn != nil {
				left = *h.ExpiresIn
			}
			passed := time.Since(since).Seconds()
			if !k.doubt {
				require.Equal(t, k.lease > 0, h.ExpiresIn != nil, w.name(i))
				require.LessOrEqual(t, left, k.lease, w.name(i))
				require.GreaterOrEqual(t, left+passed, k.lease, "%s: the lease is shorter than it was", w.name(i))
			}
			lease := k.lease
			if k.doubt {
				// It was answered or not; leases are whole minutes, so what there is now tells.
				lease = 0
				for h.ExpiresIn != nil && lease < left {
					lease += 60
				}
			}
			*k = known{held: true, id: h.ID, token: h.Token, lease: lease, highest: max(k.highest, h.Token)}
		}
	}
}

// calls is the number of answers so far.
func calls(workers []*worker) int64 {
	var n int64
	for _, w := range workers {
		n += w.calls.Load()
	}
	return n
}
