package lock

import "hash/maphash"

// indexFrom is the number of claims on one resource from which keeping an index is cheaper than walking them.
const indexFrom = 24

// index finds the claims of a resource that has many.
type index struct {
	seed    maphash.Seed
	byID    map[uint64]*claim // by key; of two with the same one, which hardly ever are, only the newer is found
	byToken map[int64]*claim
	byOwner map[string]grants
}

// key is a hash of 64 bits, as names themselves would take three times as much memory.
func (x *index) key(owner, id string) uint64 {
	return mix(maphash.String(x.seed, owner), maphash.String(x.seed, id))
}

// grants counts an owner's grants. tokens is the sum of their tokens, so if there is one, it is its token.
type grants struct {
	n      int
	tokens int64
}

// reindex makes the index if the resource has grown to need one.
func (r *resource) reindex() {
	if r.index != nil || r.holders.n+r.waiters() < indexFrom {
		return
	}
	r.index = &index{seed: maphash.MakeSeed(), byID: map[uint64]*claim{}, byToken: map[int64]*claim{}, byOwner: map[string]grants{}}
	for c := r.holders.head; c != nil; c = c.next {
		r.index.named(c)
		r.index.granted(c)
	}
	if r.queue != nil {
		for c := r.queue.head; c != nil; c = c.next {
			r.index.named(c)
		}
	}
}

// The methods of a nil index do nothing.

func (x *index) named(c *claim) {
	if x != nil && c.id != "" {
		x.byID[x.key(c.owner, c.id)] = c
	}
}

func (x *index) unnamed(c *claim) {
	if x != nil && c.id != "" {
		delete(x.byID, x.key(c.owner, c.id))
	}
}

func (x *index) granted(c *claim) {
	if x == nil {
		return
	}
	x.byToken[c.token] = c
	g := x.byOwner[c.owner]
	x.byOwner[c.owner] = grants{g.n + 1, g.tokens + c.token}
}

func (x *index) freed(c *claim) {
	if x == nil {
		return
	}
	delete(x.byToken, c.token)
	g := x.byOwner[c.owner]
	if g.n == 1 {
		delete(x.byOwner, c.owner)
		return
	}
	x.byOwner[c.owner] = grants{g.n - 1, g.tokens - c.token}
}
