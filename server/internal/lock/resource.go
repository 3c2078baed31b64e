package lock

// resource is one name with its holders and its queue. It exists while it has any.
type resource struct {
	name       string
	prev, next *resource // neighbours in the order of creation, for listing
	serial     int64     // the number of its creation
	changed    uint64    // Seq of its newest change
	holders    list
	queue      *queue // nil if nobody has waited since the resource was created
	index      *index // nil while there are few claims
	permits    int32  // the kind: the limit of a semaphore, or 0 for exclusive and shared
}

// list is a doubly linked list of claims.
type list struct {
	head, tail *claim
	n          int
}

func (l *list) push(c *claim) { l.insertBefore(nil, c) }

// insertBefore puts c before at, or at the end if at is nil.
func (l *list) insertBefore(at, c *claim) {
	c.next = at
	if at == nil {
		c.prev, l.tail = l.tail, c
	} else {
		c.prev, at.prev = at.prev, c
	}
	if c.prev == nil {
		l.head = c
	} else {
		c.prev.next = c
	}
	l.n++
}

func (l *list) remove(c *claim) {
	if c.prev == nil {
		l.head = c.next
	} else {
		c.prev.next = c.next
	}
	if c.next == nil {
		l.tail = c.prev
	} else {
		c.next.prev = c.prev
	}
	c.prev, c.next = nil, nil
	l.n--
}

func (r *resource) waiters() int {
	if r.queue == nil {
		return 0
	}
	return r.queue.n
}

// present returns the number of waiters with a request parked.
func (r *resource) present() int {
	if r.queue == nil {
		return 0
	}
	return r.queue.present
}

// mode is how the resource is held. It means nothing if nobody holds it.
func (r *resource) mode() Mode {
	if r.holders.head == nil {
		return Exclusive
	}
	return r.holders.head.mode
}

// admits reports whether c could be held beside the present holders.
func (r *resource) admits(c *claim) bool {
	switch c.mode {
	case Semaphore:
		return r.holders.n < int(r.permits)
	case Shared:
		return r.holders.n == 0 || r.mode() == Shared
	default:
		return r.holders.n == 0
	}
}

// full reports whether no claim of the resource's kind could be held beside the present holders.
func (r *resource) full() bool {
	if r.permits > 0 {
		return r.holders.n >= int(r.permits)
	}
	return r.holders.n > 0 && r.mode() == Exclusive
}

// otherKind reports whether the resource is held or awaited as another kind than that of the permits.
func (r *resource) otherKind(permits int32) bool {
	return r.permits != permits && (r.holders.n > 0 || r.present() > 0)
}

// byID returns the claim of that owner with that id, or nil.
func (r *resource) byID(owner, id string) *claim {
	if r.index != nil {
		if c := r.index.byID[r.index.key(owner, id)]; c != nil && c.owner == owner && c.id == id {
			return c
		}
		return nil
	}
	c := r.holders.head
	for ; c != nil && (c.owner != owner || c.id != id); c = c.next {
	}
	if c == nil && r.queue != nil {
		for c = r.queue.head; c != nil && (c.owner != owner || c.id != id); c = c.next {
		}
	}
	return c
}

// byToken returns the grant with that token, or nil.
func (r *resource) byToken(token int64) *claim {
	if r.index != nil {
		return r.index.byToken[token]
	}
	for c := r.holders.head; c != nil; c = c.next {
		if c.token == token {
			return c
		}
	}
	return nil
}

// byOwner returns how many grants the owner has, and the grant if there is just one.
func (r *resource) byOwner(owner string) (n int, only *claim) {
	if r.index != nil {
		g := r.index.byOwner[owner]
		if g.n == 1 {
			only = r.index.byToken[g.tokens]
		}
		return g.n, only
	}
	for c := r.holders.head; c != nil; c = c.next {
		if c.owner == owner {
			n++
			only = c
		}
	}
	if n != 1 {
		only = nil
	}
	return n, only
}
