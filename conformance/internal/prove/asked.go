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
	asking
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

// questions are two of each kind, over HTTP and in a session with the server.
func (c *cluster) questions(to *server, f fault, askings []asking) (all []*question) {
	for n, a := range askings {
		for w, here := range []wire{newPlain(to.process.Addr()), &sessions{addr: to.process.Addr()}} {
			name := fmt.Sprintf("asked/%d-%d", n, w)
			all = append(all, &question{
				asking: a, h: c.r.h, resource: fmt.Sprintf("r%d-asked-%s-%d", f.round, strings.ReplaceAll(a.name, " ", "-"), w),
				here: &raw{name: name, wire: here, h: c.r.h}, led: &raw{name: name, h: c.r.h}, other: &raw{name: name + "/other", h: c.r.h},
			})
		}
	}
	return all
}

// stopAndAsk stops the leader until another leads, and has requests in its sockets when it goes on. Nothing else goes on meanwhile, as any
// commit, or lease that is over, would show the server that it does not lead. For that time its ways to the members that do not lead etcd
// are slow, so that, unless it asks, it may take longer to find out than to answer.
func (c *cluster) stopAndAsk(ctx context.Context, f fault, askings []asking) (err error) {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errStuck)
	defer cancel()
	i, s := c.leader(ctx, f)
	all := c.questions(s, f, askings)
	each := func(do func(q *question)) {
		var group sync.WaitGroup
		for _, q := range all {
			group.Go(func() { do(q) })
		}
		group.Wait()
	}
	each(func(q *question) { q.before(q, ctx) })
	if err := s.process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	resume := sync.OnceValue(func() error { return s.process.Signal(syscall.SIGCONT) })
	defer func() { err = errors.Join(err, resume()) }()
	next := c.successor(ctx, i, f.length)
	for _, q := range all {
		q.led.wire, q.other.wire = newPlain(next.process.Addr()), newPlain(next.process.Addr())
	}
	each(func(q *question) { q.since(q, ctx) })
	asked := make(chan struct{})
	go func() {
		each(func(q *question) { q.ask(q, ctx) })
		close(asked)
	}()
	cure, err := poison(f, c.besideLeader(ctx, i), "latency", map[string]any{"latency": 300}, "upstream")
	pause(ctx, 200*time.Millisecond) // the requests get into the sockets
	err = errors.Join(err, resume())
	<-asked
	err = errors.Join(err, cure())
	each(func(q *question) { q.settle(ctx) })
	if errors.Is(context.Cause(ctx), errStuck) {
		c.r.h.violation("every call ends", "", f.String()+": calls still wait after a minute")
	}
	return err
}

// besideLeader are the links of a server to the members that do not lead etcd.
func (c *cluster) besideLeader(ctx context.Context, of int) (links []*link) {
	for n, m := range c.members {
		if !m.leads(ctx) {
			links = append(links, c.toEtcd[of][n])
		}
	}
	return links
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
