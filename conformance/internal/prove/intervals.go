package prove

import (
	"cmp"
	"fmt"
	"math"
	"slices"
)

// sorted returns the grants in the order of their tokens.
func sorted(all map[int64]*grant) []*grant {
	list := make([]*grant, 0, len(all))
	for _, g := range all {
		list = append(list, g)
	}
	slices.SortFunc(list, func(a, b *grant) int { return cmp.Compare(a.op.Token, b.op.Token) })
	return list
}

// rising checks that tokens rise: of two grants of which one was asked for when the other was answered, the later has the higher token.
func rising(list []*grant, wrong func(promise, what string)) {
	// From the highest token down: no grant may have been answered before the call of one with a lower token.
	var first *Op
	for _, g := range slices.Backward(list) {
		if first != nil && first.Return < g.op.Call {
			wrong("tokens rise", fmt.Sprintf("%s got %d at %s, and %s, which asked at %s, got %d",
				first.Client, first.Token, at(first.Return), g.op.Client, at(g.op.Call), g.op.Token))
			return
		}
		if first == nil || g.op.Return < first.Return {
			first = g.op
		}
	}
}

// fifo checks that nobody overtakes a waiter that is present. A raw client whose only request was granted was present all the time from
// when it had come, which was at the latest when it was granted less the time that it waited.
func fifo(list []*grant, wrong func(promise, what string)) (checked int) {
	var first *Op // of those with higher tokens, who came first
	came := int64(math.MaxInt64)
	for _, g := range slices.Backward(list) {
		if first != nil && came < g.op.Call {
			wrong("waiters are served in their order", fmt.Sprintf("%s waited since %s at the latest and got %d; %s asked at %s and got %d",
				first.Client, at(came), first.Token, g.op.Client, at(g.op.Call), g.op.Token))
			return checked
		}
		if g.op.delivered() && g.op.Wait {
			checked++
			if t := g.op.Return - seconds(g.op.Waited); t < came {
				first, came = g.op, t
			}
		}
	}
	return checked
}

// exclusion checks that nobody holds what another holds for sure: a grant is held from its answer until it may be over.
func exclusion(list []*grant, end int64, wrong func(promise, what string)) {
	type edge struct {
		at   int64
		more int
		g    *grant
	}
	var edges []edge
	for _, g := range list {
		until := g.sure
		if g.maybe >= 0 {
			until = min(until, g.maybe)
		}
		until = min(until, end)
		if until > g.op.Return {
			edges = append(edges, edge{g.op.Return, 1, g}, edge{until, -1, g})
		}
	}
	slices.SortFunc(edges, func(a, b edge) int { return cmp.Or(cmp.Compare(a.at, b.at), a.more-b.more) })
	now := map[*grant]bool{}
	for _, e := range edges {
		if e.more < 0 {
			delete(now, e.g)
			continue
		}
		var others []string
		shared := true
		for g := range now {
			others = append(others, fmt.Sprintf("%d of %s", g.op.Token, g.op.Client))
			shared = shared && g.op.Mode.Shared
		}
		m := e.g.op.Mode
		if m.Limit > 0 && len(now) >= m.Limit || m.Limit == 0 && len(now) > 0 && (!shared || !m.Shared) {
			wrong("a lock is held by one", fmt.Sprintf("%s got %d at %s while others held it for sure: %v", e.g.op.Client, e.g.op.Token, at(e.at), others))
			return
		}
		now[e.g] = true
	}
}

// late checks that a lock that nobody holds any more goes to who waits for it. The server's own pauses are its excuse, and the machine's.
func late(list []*grant, h *history, wrong func(promise, what string)) (checked int) {
	for i, g := range list[1:] {
		before := list[i]
		if !g.op.delivered() || !g.op.Wait || g.op.Mode != (mode{}) || before.op.Mode != (mode{}) {
			continue
		}
		if before.freed || before.maybe >= 0 || before.op.Lease == 0 || before.op.Kept || before.op.Left == 0 || before.op.Note == renewed {
			continue
		}
		due := max(before.op.Return+seconds(before.op.Left), g.op.Return-seconds(g.op.Waited))
		if excuses := h.during(before.op.Call, g.op.Return); len(excuses) > 0 {
			continue
		}
		checked++
		if g.op.Return > due+int64(slack) {
			wrong("a lease that is over is handed on", fmt.Sprintf("the lease of %d was over at %s at the latest, and %s, which waited, got the lock at %s",
				before.op.Token, at(before.op.Return+seconds(before.op.Left)), g.op.Client, at(g.op.Return)))
			return checked
		}
	}
	return checked
}
