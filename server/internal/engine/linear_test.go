package engine_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/anishathalye/porcupine"
	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// TestLinearizable has clients do what they like at the same time, while the store crashes again and again: killed between any two
// steps, or failed in the middle of a batch. Whatever they were answered must fit one order of effects, in which every answered grant
// is still there after the crash, every answered release is not, and tokens rise.
func TestLinearizable(t *testing.T) {
	const clients, operations, crashEvery = 8, 250, 130
	h := &history{t: t}
	h.start(newStore())
	var count atomic.Int64
	var wg sync.WaitGroup
	for i := range clients {
		wg.Go(func() {
			c := &client{h: h, id: i, rng: rand.New(rand.NewPCG(uint64(i), 1))}
			for range operations {
				if n := count.Add(1); n%crashEvery == 0 {
					h.crash(n/crashEvery%2 == 0, c.rng.IntN(4))
				}
				c.act()
			}
		})
	}
	wg.Wait()
	require.Greater(t, h.grants.Load(), int64(clients*operations/4), "too little happened to tell anything")
	require.Greater(t, h.unknown.Load(), int64(10), "too few operations were cut off by a crash")

	result, info := porcupine.CheckOperationsVerbose(lockModel(), h.ops, time.Minute)
	if result == porcupine.Illegal {
		reportIllegal(t, h.ops, info)
	}
	require.Equal(t, porcupine.Ok, result)
}

// reportIllegal says of which resource the history can't be.
func reportIllegal(t *testing.T, ops []porcupine.Operation, info porcupine.LinearizationInfo) {
	path := t.ArtifactDir() + "/linearizable.html"
	if err := porcupine.VisualizePath(lockModel(), info, path); err == nil {
		t.Logf("%d operations; the picture is in %s", len(ops), path)
	}
}

// history is what clients did to an engine that is started anew after each crash, and what they were answered.
type history struct {
	t       *testing.T
	clock   atomic.Int64
	grants  atomic.Int64
	unknown atomic.Int64

	mu   sync.Mutex
	node *node
	ops  []porcupine.Operation
}

// node is one life of the engine.
type node struct {
	*system
	mu   sync.Mutex
	dead bool
	gone chan struct{} // closed when the next one is there
}

func (h *history) start(s *testStore) {
	s.takes = 50 * time.Microsecond
	n := &node{system: open(h.t, s), gone: make(chan struct{})}
	h.mu.Lock()
	defer h.mu.Unlock()
	h.node = n
}

func (h *history) now() *node {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.node
}

// crash ends the engine, at once or by a commit that lands in part, and starts the next one on what is durable.
func (h *history) crash(kill bool, lands int) {
	n := h.now()
	if kill {
		n.mu.Lock()
		if n.dead {
			n.mu.Unlock()
			return
		}
		n.dead = true // nobody hears of it any more, whatever it still does
		next := n.store.after()
		n.mu.Unlock()
		h.start(next)
	} else {
		n.store.fail(lands)
		n.acquire(lock.Request{Resource: "last straw", Owner: "crash"})
		<-n.Failed()
		n.mu.Lock()
		again := n.dead
		n.dead = true
		n.mu.Unlock()
		if again {
			return
		}
		h.start(n.store.after())
	}
	close(n.gone)
}

// client does one operation after the other.
type client struct {
	h   *history
	id  int
	n   int
	rng *rand.Rand
}

// input and output are one operation. An output without a code is one that the client never learned.
type input struct {
	op       string
	resource string
	owner    string
	mode     lock.Mode
}

type output struct {
	code    lock.Code
	token   int64
	holders []holder
}

type holder struct {
	owner string
	token int64 // 0: nobody was told
}

// ear hears the answer of one operation on a node, unless the node dies before.
type ear struct {
	n     *node
	h     *history
	heard chan output
	at    int64
}

func (e *ear) Answer(_ uint64, a *lock.Answer) {
	e.n.mu.Lock()
	defer e.n.mu.Unlock()
	if e.n.dead {
		return
	}
	out := output{code: a.Code, token: a.Token}
	switch {
	case a.Code == lock.Unavailable:
		out.code = 0
	case a.Code == lock.Found:
		out.holders = holders(a.Detail.Locks[0].Holders)
	case a.Code == lock.ForceReleased:
		out.holders = holders(a.Detail.Holders)
	}
	e.at = e.h.clock.Add(1)
	e.heard <- out
}

func holders(of []lock.Holder) []holder {
	var hs []holder
	for _, h := range of {
		hs = append(hs, holder{h.Owner, h.Token})
	}
	return sorted(hs)
}

// do runs an operation and records it. One whose outcome is unknown returns when the next engine is there.
func (c *client) do(in input, start func(n *node, to lock.Reply)) output {
	n := c.h.now()
	e := &ear{n: n, h: c.h, heard: make(chan output, 1)}
	call := c.h.clock.Add(1)
	start(n, lock.Reply{To: e})
	var out output
	select {
	case out = <-e.heard:
		if out.code == 0 {
			<-n.gone
		}
	case <-n.gone:
		select {
		case out = <-e.heard: // it came before the end
		default:
			e.at = c.h.clock.Add(1)
		}
	}
	if out.code == 0 {
		c.h.unknown.Add(1)
	}
	c.h.mu.Lock()
	defer c.h.mu.Unlock()
	c.h.ops = append(c.h.ops, porcupine.Operation{ClientId: c.id, Input: in, Output: out, Call: call, Return: e.at})
	return out
}

func (c *client) act() {
	in := input{resource: fmt.Sprintf("r%d", c.rng.IntN(5))}
	switch p := c.rng.IntN(100); {
	case p < 8:
		in.op = "show"
		c.do(in, func(n *node, to lock.Reply) { n.Show(in.resource, to) })
	case p < 12:
		in.op = "evict"
		c.do(in, func(n *node, to lock.Reply) { n.ForceRelease(in.resource, 0, "", to) })
	default:
		c.useLock(in)
	}
}

// useLock acquires and releases. Like a client it tries each again if its outcome is unknown.
func (c *client) useLock(in input) {
	c.n++
	in.op, in.owner = "acquire", fmt.Sprintf("c%d-%d", c.id, c.n)
	req := lock.Request{Resource: in.resource, Owner: in.owner}
	if c.rng.IntN(3) == 0 {
		req.Mode = lock.Shared
	}
	in.mode = req.Mode
	if c.rng.IntN(2) == 0 {
		req.ID = "id"
	}
	if c.rng.IntN(2) == 0 {
		req.Wait = 3 * time.Millisecond
	}
	got := c.do(in, func(n *node, to lock.Reply) { n.Acquire(&req, to) })
	if got.code == 0 && req.ID != "" {
		got = c.do(in, func(n *node, to lock.Reply) { n.Acquire(&req, to) })
	}
	if got.code == lock.Granted {
		c.h.grants.Add(1)
	}
	if got.code != lock.Granted && got.code != 0 {
		return
	}
	in.op = "release"
	ref := lock.Ref{Resource: in.resource, Owner: in.owner}
	switch c.rng.IntN(3) {
	case 0:
		ref.Token = got.token
	case 1:
		ref.ID = req.ID
	}
	for {
		if c.do(in, func(n *node, to lock.Reply) { n.Release(&ref, to) }).code != 0 {
			return
		}
	}
}

// state is one resource in the model.
type state struct {
	mode    lock.Mode
	holders []holder
	last    int64 // the highest token that somebody was told
}

func sorted(hs []holder) []holder {
	slices.SortFunc(hs, func(a, b holder) int { return strings.Compare(a.owner, b.owner) })
	return hs
}

func (s state) find(owner string) int {
	return slices.IndexFunc(s.holders, func(h holder) bool { return h.owner == owner })
}

func (s state) with(h holder, mode lock.Mode) state {
	return state{mode, sorted(append(slices.Clone(s.holders), h)), max(s.last, h.token)}
}

func (s state) without(i int) state {
	s.holders = slices.Delete(slices.Clone(s.holders), i, i+1)
	return s
}

// seen returns the state with the tokens that were told, and false if they are not those of its holders.
func (s state) seen(told []holder) (state, bool) {
	s.holders = slices.Clone(s.holders)
	ok := slices.EqualFunc(s.holders, told, func(a, b holder) bool { return a.owner == b.owner && (a.token == 0 || a.token == b.token) })
	for i := range told {
		if ok {
			s.holders[i] = told[i]
			s.last = max(s.last, told[i].token)
		}
	}
	return s, ok
}

// next returns the states in which the operation can leave the resource, or none if its outcome is impossible.
func (s state) next(in input, out output) []state {
	i := s.find(in.owner)
	admits := len(s.holders) == 0 || in.mode == lock.Shared && s.mode == lock.Shared
	switch {
	case in.op == "acquire" && (out.code == 0 || out.code == lock.IDUsed): // evicted before its answer, it is told that its id is used
		if i < 0 && admits {
			return []state{s, s.with(holder{in.owner, 0}, in.mode)}
		}
		return []state{s}
	case in.op == "acquire" && out.code == lock.Granted:
		if i >= 0 && (s.holders[i].token == 0 || s.holders[i].token == out.token) {
			return []state{s.without(i).with(holder{in.owner, out.token}, s.mode)}
		}
		if i < 0 && admits && out.token > s.last {
			return []state{s.with(holder{in.owner, out.token}, in.mode)}
		}
	case in.op == "acquire" && (out.code == lock.Locked || out.code == lock.Queued):
		if i < 0 && len(s.holders) > 0 {
			return []state{s}
		}
	case in.op == "release" && out.code == 0:
		if i >= 0 {
			return []state{s, s.without(i)}
		}
		return []state{s}
	case in.op == "release" && out.code == lock.Released:
		if i >= 0 && (s.holders[i].token == 0 || out.token == s.holders[i].token) {
			return []state{s.without(i)}
		}
	case in.op == "release" && out.code == lock.NotHeld:
		if i < 0 {
			return []state{s}
		}
	case in.op == "evict" && out.code == 0:
		return []state{s, {last: s.last}}
	case in.op == "evict" && out.code == lock.ForceReleased:
		if seen, ok := s.seen(out.holders); ok && len(s.holders) > 0 {
			return []state{{last: seen.last}}
		}
	case in.op == "show" && out.code == lock.Found:
		if seen, ok := s.seen(out.holders); ok && len(s.holders) > 0 {
			return []state{seen}
		}
	case in.op == "show" && out.code == 0:
		return []state{s}
	case out.code == lock.NotFound:
		if len(s.holders) == 0 {
			return []state{s}
		}
	}
	return nil
}

func lockModel() porcupine.Model {
	model := porcupine.NondeterministicModel{
		Partition: func(all []porcupine.Operation) [][]porcupine.Operation {
			by := map[string][]porcupine.Operation{}
			for _, op := range all {
				name := op.Input.(input).resource
				by[name] = append(by[name], op)
			}
			var parts [][]porcupine.Operation
			for _, ops := range by {
				parts = append(parts, ops)
			}
			return parts
		},
		Init: func() []any { return []any{state{}} },
		Step: func(s, in, out any) []any {
			var next []any
			for _, n := range s.(state).next(in.(input), out.(output)) {
				next = append(next, n)
			}
			return next
		},
		Equal: func(a, b any) bool {
			x, y := a.(state), b.(state)
			return x.mode == y.mode && x.last == y.last && slices.Equal(x.holders, y.holders)
		},
		DescribeOperation: func(in, out any) string { return fmt.Sprintf("%+v → %+v", in, out) },
		DescribeState:     func(s any) string { return fmt.Sprintf("%+v", s) },
	}
	return model.ToModel()
}
