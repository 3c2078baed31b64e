package prove

import (
	"fmt"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/anishathalye/porcupine"
)

// hold is a grant that the model knows to be held.
type hold struct {
	token  int64
	shared bool
}

// held is the state of the model: who holds the resource, in the order of their tokens, and the highest token so far.
type held struct {
	holds   []hold
	highest int64
}

func (s held) has(token int64) int {
	return slices.IndexFunc(s.holds, func(h hold) bool { return h.token == token })
}

func (s held) admits(m mode) bool {
	switch {
	case m.Limit > 0:
		return len(s.holds) < m.Limit
	case m.Shared:
		return !slices.ContainsFunc(s.holds, func(h hold) bool { return !h.shared })
	}
	return len(s.holds) == 0
}

func (s held) with(token int64, m mode) held {
	return held{append(slices.Clone(s.holds), hold{token, m.Shared}), token}
}

func (s held) without(i int) held {
	return held{slices.Delete(slices.Clone(s.holds), i, i+1), s.highest}
}

// lock is the model of one resource: an exclusive lock, a readers–writer lock or a semaphore, whose leases end by themselves. The end of
// a lease is an operation of nobody, see timeline.
var lock = porcupine.Model{
	Init: func() any { return held{} },
	Step: func(from, in, _ any) (bool, any) {
		s, op := from.(held), in.(*Op)
		i := s.has(op.Token)
		switch op.Outcome {
		case granted:
			return s.admits(op.Mode) && op.after == s.highest, s.with(op.Token, op.Mode)
		case refused:
			return !s.admits(op.Mode), s
		case renewed, trusted:
			return i >= 0, s
		case notHeld, lost:
			return i < 0, s
		case released:
			if i < 0 {
				return false, s
			}
			return true, s.without(i)
		case ended: // perhaps before
			if i < 0 {
				return true, s
			}
			return true, s.without(i)
		case seen:
			if len(s.holds) != len(op.Seen) {
				return false, s
			}
			for _, token := range op.Seen {
				if s.has(token) < 0 {
					return false, s
				}
			}
			return true, s
		}
		return true, s
	},
	Equal: func(a, b any) bool {
		x, y := a.(held), b.(held)
		return x.highest == y.highest && slices.Equal(x.holds, y.holds)
	},
	DescribeOperation: func(in, _ any) string {
		op := in.(*Op)
		text := op.Kind + " → " + op.Outcome
		if op.Token != 0 {
			text += fmt.Sprintf(" %d", op.Token)
		}
		if op.Kind == show {
			text += fmt.Sprint(" ", op.Seen)
		}
		return text
	},
	DescribeState: func(s any) string { return fmt.Sprint(s.(held).holds) },
}

// grant is what the history says about one token.
type grant struct {
	op *Op // that it was granted to

	sure  int64 // until when it was held for sure, as the server and the SDKs said: no lease ends before
	until int64 // since when it is not held any more for sure
	freed bool  // a release was answered
	maybe int64 // when a release began; -1: there is none
}

// grants collects what is known of each token. It reports tokens that were granted twice.
func grants(ops []*Op, end int64, wrong func(promise, what string)) map[int64]*grant {
	all := map[int64]*grant{}
	for _, op := range ops {
		if op.Kind != acquire && op.Kind != again || op.Outcome != granted {
			continue
		}
		if other := all[op.Token]; other != nil {
			wrong("a token names one grant", fmt.Sprintf("%d was granted to %s and to %s", op.Token, other.op.Client, op.Client))
			continue
		}
		g := &grant{op: op, until: end, maybe: -1, sure: end}
		switch {
		case op.Left > 0: // of an answer to a request that had waited
			g.sure = op.Call + seconds(op.Waited+op.Left)
		case op.Lease > 0:
			g.sure = op.Call + seconds(op.Lease)
		}
		all[op.Token] = g
	}
	for _, op := range ops {
		g := all[op.Token]
		if g == nil || op.Token == 0 {
			continue
		}
		switch op.Outcome {
		case renewed:
			if op.Lease > 0 {
				g.sure = max(g.sure, op.Call+seconds(op.Lease))
			}
		case trusted:
			g.sure = max(g.sure, op.Call)
		case released:
			g.freed, g.maybe = true, op.Call
		case ended, unsure:
			if g.maybe < 0 {
				g.maybe = op.Call
			}
			if op.Outcome == ended {
				g.until = min(g.until, op.Return)
			}
		case notHeld, lost:
			if op.Outcome == notHeld {
				g.until = min(g.until, op.Return)
			}
		}
	}
	return all
}

func seconds(s float64) int64 {
	// What comes from the server is rounded down, and what is computed with it must not come out later than it was.
	return int64(math.Floor(s * float64(time.Second)))
}

// timeline is what the model is asked about a resource: the operations that say something, and an end of each grant that nobody is known
// to have released. That end is at any time between the first at which the lease may be over and the first at which it must be.
func timeline(ops []*Op, end int64, wrong func(promise, what string)) []porcupine.Operation {
	all := grants(ops, end, wrong)
	clients := map[string]int{}
	var out []porcupine.Operation
	put := func(client string, in *Op, call, back int64) {
		id, known := clients[client]
		if !known {
			id = len(clients)
			clients[client] = id
		}
		out = append(out, porcupine.Operation{ClientId: id, Input: in, Call: call, Output: nil, Return: max(back, call)})
	}
	// Tokens rise, so they are the order of the grants: to try another one would only take time.
	tokens := slices.Sorted(maps.Keys(all))
	doubt := doubts(ops, end)
	for _, op := range ops {
		switch op.Outcome {
		case granted:
			known := *op
			if i, _ := slices.BinarySearch(tokens, op.Token); i > 0 {
				known.after = tokens[i-1]
			}
			put(op.Client, &known, op.Call, op.Return)
		case released, renewed, notHeld:
			put(op.Client, op, op.Call, op.Return)
		case trusted: // at the moment when it was asked, or later
			put(op.Client, op, op.Call, op.Call)
		case refused:
			if op.Mode == (mode{}) && !op.outlasted() && !doubt.at(op.Call, op.Return, op) {
				put(op.Client, op, op.Call, op.Return)
			}
		case seen:
			known := *op
			known.Seen = slices.DeleteFunc(slices.Clone(op.Seen), func(token int64) bool { return all[token] == nil })
			put(op.Client, &known, op.Call, op.Return)
		}
	}
	for i, token := range tokens {
		g := all[token]
		if g.freed || g.sure >= end && g.maybe < 0 {
			continue
		}
		// The first grant after it that cannot be held together with it.
		for _, next := range tokens[i+1:] {
			if n := all[next].op; n.Mode.Limit == 0 && (!n.Mode.Shared || !g.op.Mode.Shared) {
				g.until = min(g.until, n.Return)
				break
			}
		}
		from := g.sure
		if g.maybe >= 0 {
			from = min(from, g.maybe)
		}
		if from > g.until {
			wrong("a lease ends after its deadline only", fmt.Sprintf("grant %d of %s was over by %s, and its lease lasted until %s at least",
				token, g.op.Client, at(g.until), at(from)))
			from = g.until
		}
		put("", &Op{Kind: "lease", Resource: g.op.Resource, Token: token, Outcome: ended, Call: from, Return: g.until}, from, g.until)
	}
	return out
}

// long is a lease that outlasts every pause of a server: its grant is not taken back before it is answered.
const long = 10

// delivered says that a grant is surely the only one that was made for its request.
func (op *Op) delivered() bool { return op.Tries == 1 && (op.Lease == 0 || op.Lease >= long) }

// outlasted says that an SDK's call lasted longer than its lease: a grant that came too late to be trusted is given back, and the next
// attempt, by a new id, may find the lock held for it still.
func (op *Op) outlasted() bool {
	return op.Tries == 0 && op.Lease > 0 && op.Return-op.Call > safely(op.Lease)
}

// safely is how long an SDK trusts a lease at most.
func safely(lease float64) int64 { return seconds(lease*0.99) - int64(2*time.Millisecond) }

// doubt is when a lock may have been held for an acquisition that does not know of it: one that gave up, or that had to ask again.
type doubt []*Op

func doubts(ops []*Op, end int64) (all doubt) {
	for _, op := range ops {
		if op.Kind != acquire && op.Kind != again || op.Outcome == granted && op.delivered() {
			continue
		}
		if op.Outcome == failed || op.Outcome == granted {
			known := *op
			if op.Outcome == failed {
				known.Return = end
			}
			all = append(all, &known)
		}
	}
	return all
}

func (d doubt) at(from, to int64, not *Op) bool {
	return slices.ContainsFunc(d, func(op *Op) bool { return op.Call <= to && op.Return >= from && op.Client != not.Client })
}

// at is a moment of the run for people.
func at(t int64) string { return time.Duration(t).Round(time.Microsecond).String() }
