package prove

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// churn is the load of a soak: clients that come and go, names that are new all the time, waits that are cancelled, leases that run out.
type churn struct {
	addr   string
	ops    atomic.Int64
	errors atomic.Int64
	names  atomic.Int64
	stop   func()

	mu     sync.Mutex
	times  []time.Duration  // of calls that wait for nobody, since they were last taken
	late   []time.Duration  // by which sleeps ended late, since then
	failed map[string]int64 // how often which call failed in which way
}

// A visitor comes, does a few rounds of its work, and goes.
type visitor struct {
	*churn
	wire wire
	rand *rand.Rand
	name string
}

// startChurn starts clients, until stop.
func startChurn(ctx context.Context, addr string, o SoakOptions) *churn {
	ctx, cancel := context.WithCancel(ctx)
	var group sync.WaitGroup
	c := &churn{addr: addr, stop: func() { cancel(); group.Wait() }, failed: map[string]int64{}}
	kinds := []struct {
		name string
		open func() wire
		do   func(v *visitor, ctx context.Context)
	}{
		{"http", func() wire { return newPlain(addr) }, (*visitor).pair},
		{"session", func() wire { return &sessions{addr: addr} }, (*visitor).pair},
		{"http", func() wire { return newPlain(addr) }, (*visitor).wait},
		{"session", func() wire { return &sessions{addr: addr} }, (*visitor).wait},
		{"session", func() wire { return &sessions{addr: addr} }, (*visitor).abandon},
		{"http", func() wire { return newPlain(addr) }, (*visitor).abandon},
	}
	for n := range o.Clients {
		for k, kind := range kinds {
			random := rand.New(rand.NewPCG(o.Seed, uint64(n*len(kinds)+k))) //nolint:gosec // no secret
			group.Go(func() {
				for ctx.Err() == nil {
					v := &visitor{c, kind.open(), random, fmt.Sprintf("%s-%d", kind.name, c.names.Add(1))}
					for range 1 + random.IntN(40) {
						kind.do(v, ctx)
						pause(ctx, rand.N(2*o.Pause)) //nolint:gosec // no secret
					}
					v.wire.close()
				}
			})
		}
	}
	for _, do := range []func(ctx context.Context){c.look, c.sleep} {
		group.Go(func() {
			for ctx.Err() == nil {
				do(ctx)
			}
		})
	}
	return c
}

// ask makes one call, of which it is known how it may end.
func (v *visitor) ask(ctx context.Context, op string, fields map[string]any, expected ...int) answer {
	bounded, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	began := time.Now()
	a, err := v.wire.ask(bounded, op, fields)
	lasted := time.Since(began)
	if ctx.Err() != nil {
		return a
	}
	v.ops.Add(1)
	if err != nil || !slices.Contains(expected, a.Status) {
		v.fail(op, a.Status, err)
		return a
	}
	if fields["wait"] == nil {
		v.mu.Lock()
		v.times = append(v.times, lasted)
		v.mu.Unlock()
	}
	return a
}

func (v *visitor) fields(resource string, lease float64) map[string]any {
	return map[string]any{"resource": resource, "owner": v.name, "id": fmt.Sprint(v.churn.names.Add(1)), "expire": lease}
}

func (v *visitor) newName() string { return fmt.Sprintf("once/%d", v.churn.names.Add(1)) }

// pair takes a lock that nobody else wants, and releases it.
func (v *visitor) pair(ctx context.Context) {
	f := v.fields(v.newName(), 60)
	a := v.ask(ctx, acquire, f, http.StatusOK)
	if a.Token == 0 {
		return
	}
	if v.rand.IntN(4) == 0 {
		v.ask(ctx, show, map[string]any{"resource": f["resource"]}, http.StatusOK)
	}
	v.ask(ctx, release, map[string]any{"resource": f["resource"], "owner": v.name, "token": a.Token}, http.StatusOK)
}

// wait waits for a lock that others hold, and gives up a third of the times. The names change every ten seconds.
func (v *visitor) wait(ctx context.Context) {
	f := v.fields(fmt.Sprintf("hot/%d/%d", time.Now().Unix()/10, v.rand.IntN(6)), 2)
	f["wait"] = 5.0
	if v.rand.IntN(3) == 0 {
		limited, cancel := context.WithTimeout(ctx, time.Duration(1+v.rand.IntN(20))*time.Millisecond)
		defer cancel()
		ctx = limited
	}
	a := v.ask(ctx, acquire, f, http.StatusOK, http.StatusAccepted, http.StatusConflict)
	if a.Token == 0 {
		return
	}
	pause(ctx, rand.N(5*time.Millisecond)) //nolint:gosec // no secret
	v.ask(ctx, release, map[string]any{"resource": f["resource"], "owner": v.name, "token": a.Token}, http.StatusOK, http.StatusConflict)
}

// abandon takes a lock, and lets its lease run out; now and then after a renewal.
func (v *visitor) abandon(ctx context.Context) {
	f := v.fields(v.newName(), 0.5+v.rand.Float64())
	a := v.ask(ctx, acquire, f, http.StatusOK)
	if a.Token != 0 && v.rand.IntN(3) == 0 {
		v.ask(ctx, renew, map[string]any{"resource": f["resource"], "owner": v.name, "token": a.Token, "expire": 1.0}, http.StatusOK, http.StatusConflict)
	}
}

// look follows the events for a while, as a dashboard does, which also asks for figures.
func (c *churn) look(ctx context.Context) {
	p := newPlain(c.addr)
	defer p.close()
	limited, cancel := context.WithTimeout(ctx, rand.N(4*time.Second)) //nolint:gosec // no secret
	defer cancel()
	for _, path := range []string{"/stats", "/locks?limit=100", "/events"} {
		req, err := http.NewRequestWithContext(limited, http.MethodGet, p.url+path, http.NoBody)
		if err != nil {
			c.fail(path, 0, err)
			return
		}
		req.Header.Set("X-LOCKSERVER-SECRET", secret)
		resp, err := p.http.Do(req)
		if err != nil {
			if limited.Err() == nil {
				c.fail(path, 0, err)
			}
			return
		}
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		}
		_ = resp.Body.Close()
	}
}

func (c *churn) fail(what string, status int, err error) {
	c.errors.Add(1)
	c.mu.Lock()
	defer c.mu.Unlock()
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		c.failed[what+": no answer in time"]++
	case err != nil:
		c.failed[what+": "+err.Error()]++
	default:
		c.failed[fmt.Sprintf("%s: answered %d", what, status)]++
	}
}

// sleep takes down how late sleeps end.
func (c *churn) sleep(ctx context.Context) {
	const length = 2 * time.Millisecond
	began := time.Now()
	pause(ctx, length)
	late := time.Since(began) - length
	c.mu.Lock()
	defer c.mu.Unlock()
	c.late = append(c.late, late)
}

// take returns the times since it was last called.
func (c *churn) take() (times, late []time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	times, late = c.times, c.late
	c.times, c.late = nil, nil
	return times, late
}
