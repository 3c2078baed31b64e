package lock

import (
	"cmp"
	"slices"
	"time"
)

// contention is what has happened on a resource since somebody had to wait for it. A resource that nobody waits for has none. It outlives
// its resource, which is gone whenever nobody holds it.
type contention struct {
	name     string
	waits    uint64
	handOffs uint64
	wait     Spread // of those that got the lock
	hold     Spread
}

// Of so many resources the contention is kept: when there are twice as many, the half with the fewest waits is forgotten.
const contendedKept = 1024

// Contended tells how much others have waited for one resource.
type Contended struct {
	Resource         string
	Waits            uint64 // places taken in its queue
	HandOffs         uint64 // those whose wait ended with the lock
	Wait50, Wait99   time.Duration
	Holds            int // grants that have ended
	Hold50, Hold99   time.Duration
	Waiters, Holders int // now
}

// contention returns what is kept about the resource that has that name, and begins it if there is nothing.
func (t *Table) contention(name string) *contention {
	k := t.contended[name]
	if k == nil {
		if len(t.contended) >= 2*contendedKept {
			for _, least := range t.mostContended()[contendedKept:] {
				t.forgetContention(least)
			}
		}
		if n := len(t.spare); n > 0 {
			k, t.spare = t.spare[n-1], t.spare[:n-1]
		} else {
			k = &contention{}
		}
		k.name = name
		t.contended[name] = k
	}
	return k
}

// forgetContention makes k a spare one: where others wait for ever new resources, each would cost a kilobyte of garbage.
func (t *Table) forgetContention(k *contention) {
	delete(t.contended, k.name)
	if r := t.resources[k.name]; r != nil && r.queue != nil {
		r.queue.contention = nil
	}
	*k = contention{}
	t.spare = append(t.spare, k)
}

// The methods of a nil contention do nothing.

func (k *contention) handedOff(waited time.Duration) {
	if k != nil {
		k.handOffs++
		k.wait.Observe(waited)
	}
}

func (k *contention) held(d time.Duration) {
	if k != nil {
		k.hold.Observe(d)
	}
}

func (t *Table) mostContended() []*contention {
	all := make([]*contention, 0, len(t.contended))
	for _, k := range t.contended {
		all = append(all, k)
	}
	slices.SortFunc(all, func(a, b *contention) int { return cmp.Or(cmp.Compare(b.waits, a.waits), cmp.Compare(a.name, b.name)) })
	return all
}

// Contended returns the resources that others have waited for most often, the first of them first, at most n.
func (t *Table) Contended(n int) []Contended {
	all := t.mostContended()
	all = all[:min(n, len(all))]
	most := make([]Contended, 0, len(all))
	for _, k := range all {
		c := Contended{
			Resource: k.name, Waits: k.waits, HandOffs: k.handOffs, Wait50: k.wait.Quantile(.5), Wait99: k.wait.Quantile(.99),
			Holds: k.hold.Count(), Hold50: k.hold.Quantile(.5), Hold99: k.hold.Quantile(.99),
		}
		if r := t.resources[k.name]; r != nil {
			c.Waiters, c.Holders = r.waiters(), r.holders.n
		}
		most = append(most, c)
	}
	return most
}
