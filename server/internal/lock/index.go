package lock

// indexFrom is the number of claims on one resource from which keeping an index is cheaper than walking them.
const indexFrom = 24

// index finds the claims of a resource that has many.
type index struct {
	byID    map[ownerID]*claim
	byToken map[int64]*claim
	byOwner map[string]grants
}

type ownerID struct{ owner, id string }

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
	r.index = &index{byID: map[ownerID]*claim{}, byToken: map[int64]*claim{}, byOwner: map[string]grants{}}
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
		x.byID[ownerID{c.owner, c.id}] = c
	}
}

func (x *index) unnamed(c *claim) {
	if x != nil && c.id != "" {
		delete(x.byID, ownerID{c.owner, c.id})
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
