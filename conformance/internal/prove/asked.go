package prove

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// A question is what a server that led is asked about a lock when it goes on after another has led. What it remembers of the lock is not
// so any more.
type question struct {
	h        *history
	resource string
	here     *raw   // its connection leads to the server that was stopped
	led      *raw   // the same client, by way of the server that leads since
	other    *raw   // another client, by that way
	held     *lease // of the one client
	later    *lease // of the other
}

// asking is how one kind of question goes.
type asking struct {
	name   string
	before func(q *question, ctx context.Context) // before the server stops
	since  func(q *question, ctx context.Context) // when another leads
	ask    func(q *question, ctx context.Context) // is with the server when it goes on
}

// An answer to these rests on nothing that has to be committed.
var knownByHeart = []asking{
	{"look", (*question).take, (*question).letGo, (*question).look},
	{"look at what was free", (*question).nothing, (*question).othersTake, (*question).look},
	{"renew", (*question).take, (*question).passOn, (*question).renew},
	{"acquire what was held", (*question).take, (*question).letGo, (*question).take},
	{"acquire again by id", (*question).take, (*question).letGo, (*question).takeAgain},
}

// These the server has to commit.
var committed = []asking{
	{"acquire what was free", (*question).nothing, (*question).nothing, (*question).take},
	{"acquire what was free and is not", (*question).nothing, (*question).othersTake, (*question).take},
	{"release", (*question).take, (*question).nothing, (*question).release},
}

func (q *question) nothing(context.Context) {}

func (q *question) acquire(ctx context.Context, c *raw) *lease {
	l := &lease{op: Op{Client: c.name, Kind: acquire, Resource: q.resource, Lease: 60}}
	q.h.timed(&l.op, func() { c.acquire(ctx, l) })
	return l
}

func (q *question) take(ctx context.Context)       { q.held = q.acquire(ctx, q.here) }
func (q *question) othersTake(ctx context.Context) { q.later = q.acquire(ctx, q.other) }

// free releases a lock that is held.
func (q *question) free(ctx context.Context, c *raw, l *lease) {
	if l != nil && l.held {
		op := l.then(release)
		q.h.timed(op, func() { c.release(ctx, l, op) })
	}
}

func (q *question) letGo(ctx context.Context)   { q.free(ctx, q.led, q.held) }
func (q *question) release(ctx context.Context) { q.free(ctx, q.here, q.held) }

func (q *question) passOn(ctx context.Context) {
	q.letGo(ctx)
	q.othersTake(ctx)
}

func (q *question) lookBy(ctx context.Context, c *raw) {
	op := &Op{Client: c.name, Kind: show, Resource: q.resource}
	q.h.timed(op, func() { c.show(ctx, op) })
}

func (q *question) look(ctx context.Context) { q.lookBy(ctx, q.here) }

func (q *question) renew(ctx context.Context) {
	op := q.held.then(renew)
	q.h.timed(op, func() { q.here.renew(ctx, q.held, op) })
}

func (q *question) takeAgain(ctx context.Context) {
	op := q.held.then(again)
	op.Token = 0
	q.h.timed(op, func() { q.here.request(ctx, op) })
	if op.Outcome == granted {
		q.held = &lease{op: *op, held: true}
	}
}

// settle looks at what has become of the lock, as others see it, and lets it go.
func (q *question) settle(ctx context.Context) {
	q.lookBy(ctx, q.other)
	if q.later == nil {
		q.othersTake(ctx)
	}
	q.letGo(ctx)
	q.free(ctx, q.other, q.later)
	for _, c := range []*raw{q.here, q.led, q.other} {
		c.close()
	}
}

// stopAndAsk stops the leader until another leads, and has requests in its sockets when it goes on. Nothing else goes on meanwhile, as any
// commit, or lease that is over, would show the server that it does not lead. For that time its ways to the members that do not lead etcd
// are slow, so that, unless it asks, it may take longer to find out than to answer.
func (c *cluster) stopAndAsk(ctx context.Context, f fault, askings []asking) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errStuck)
	defer cancel()
	i, s := c.leader(ctx, f)
	var all []*question
	for n, a := range askings {
		for w, to := range []wire{newPlain(s.process.Addr()), &sessions{addr: s.process.Addr()}} {
			name := fmt.Sprintf("asked/%d-%d", n, w)
			all = append(all, &question{
				h: c.r.h, resource: fmt.Sprintf("r%d-asked-%s-%d", f.round, strings.ReplaceAll(a.name, " ", "-"), w), here: &raw{name: name, wire: to, h: c.r.h},
			})
		}
	}
	each := func(do func(q *question, a asking)) {
		var group sync.WaitGroup
		for n, q := range all {
			group.Go(func() { do(q, askings[n/2]) })
		}
		group.Wait()
	}
	each(func(q *question, a asking) { a.before(q, ctx) })
	if err := s.process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	var goOn sync.Once
	resume := func() { goOn.Do(func() { err = errors.Join(err, s.process.Signal(syscall.SIGCONT)) }) }
	defer resume()
	next := c.successor(ctx, i, f.length)
	for _, q := range all {
		q.led = &raw{name: q.here.name, wire: newPlain(next.process.Addr()), h: c.r.h}
		q.other = &raw{name: q.here.name + "/other", wire: newPlain(next.process.Addr()), h: c.r.h}
	}
	var slow []*link
	for n, m := range c.members {
		if !m.leads(ctx) {
			slow = append(slow, c.toEtcd[i][n])
		}
	}
	var cures []func() error
	for _, l := range slow {
		cure, err := l.poison(f.kind, "latency", "upstream", map[string]any{"latency": 300})
		if err != nil {
			return err
		}
		cures = append(cures, cure)
	}
	each(func(q *question, a asking) { a.since(q, ctx) })
	asked := make(chan struct{})
	go func() {
		each(func(q *question, a asking) { a.ask(q, ctx) })
		close(asked)
	}()
	pause(ctx, 200*time.Millisecond) // the requests get into the sockets
	resume()
	<-asked
	for _, cure := range cures {
		err = errors.Join(err, cure())
	}
	each(func(q *question, _ asking) { q.settle(ctx) })
	if ctx.Err() != nil && errors.Is(context.Cause(ctx), errStuck) {
		c.r.h.violation("every call ends", "", f.String()+": calls still wait after a minute")
	}
	return err
}

// successor waits until a server that is not the one leads, and returns it; some server, if none does in time.
func (c *cluster) successor(ctx context.Context, not int, most time.Duration) *server {
	limit, cancel := context.WithTimeout(ctx, most)
	defer cancel()
	others := slices.Delete(slices.Clone(c.r.servers), not, not+1)
	for limit.Err() == nil {
		for _, s := range others {
			if s.leads(limit) {
				return s
			}
		}
		pause(limit, 20*time.Millisecond)
	}
	return others[0]
}

// leads reports whether the member leads etcd.
func (m *member) leads(ctx context.Context) bool {
	ctx, cancel := context.WithTimeout(ctx, 200*time.Millisecond)
	defer cancel()
	var answer struct {
		Header struct {
			Member string `json:"member_id"`
		}
		Leader string
	}
	status := 0
	err := newPlain(m.client).do(ctx, http.MethodPost, "/v3/maintenance/status", []byte("{}"), &answer, &status)
	return err == nil && answer.Leader != "" && answer.Leader == answer.Header.Member
}
