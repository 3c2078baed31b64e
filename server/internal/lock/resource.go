package lock

// resource is one name with its holders and its queue. It exists while it has either.
type resource struct {
	name       string
	prev, next *resource // neighbours in the order of creation, for listing
	serial     int64     // the number of its creation
	changed    uint64    // Seq of its newest change
	holders    list
	queue      *queue // nil until somebody waits
	index      *index // nil while there are few claims
	permits    int32  // the kind: 0 for exclusive and shared, else the semaphore's limit
}

// queue is the claims that wait, in the order of their arrival.
type queue struct {
	list
	present  int  // how many of them have a request parked
	numbered bool // whether the labels tell the places
	gone     int  // how many have left the head since the places were numbered
}

// enter puts c before at, or at the end where at is nil.
func (q *queue) enter(c, at *claim) {
	q.insertBefore(at, c)
	if at != nil {
		q.numbered = false
	} else if c.label != nil {
		c.label.place = q.gone + q.n
	}
}

func (q *queue) leave(c *claim) {
	if c == q.head {
		q.gone++
	} else if c != q.tail {
		q.numbered = false
	}
	q.remove(c)
}

// position is the place in the queue of a claim with an id; 1 is the head. The queue is numbered again only where one has left it
// from the middle since: many that are told their positions, as their waits end, do not each walk the queue.
func (q *queue) position(c *claim) int {
	if !q.numbered {
		q.numbered, q.gone = true, 0
		place := 0
		for w := q.head; w != nil; w = w.next {
			place++
			if w.label != nil {
				w.label.place = place
			}
		}
	}
	return c.label.place - q.gone
}

// list is a doubly linked list of claims.
type list struct {
	head, tail *claim
	n          int
}

func (l *list) push(c *claim) { l.insertBefore(nil, c) }

// insertBefore puts c before at, or at the end where at is nil.
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

// present is the number of waiters with a request parked.
func (r *resource) present() int {
	if r.queue == nil {
		return 0
	}
	return r.queue.present
}

func (r *resource) empty() bool { return r.holders.n == 0 && r.waiters() == 0 }

// mode is how the resource is held now; meaningful only while it is.
func (r *resource) mode() Mode {
	if r.holders.head == nil {
		return Exclusive
	}
	return r.holders.head.mode
}

// admits says whether c could be held beside the holders there are.
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

// full says whether nobody could be held beside the holders there are, of whatever mode.
func (r *resource) full() bool {
	if r.permits > 0 {
		return r.holders.n >= int(r.permits)
	}
	return r.holders.n > 0 && r.mode() == Exclusive
}

// otherKind says whether the resource is held or awaited as another kind than one with so many permits (0: exclusive or shared).
func (r *resource) otherKind(permits int32) bool {
	return r.permits != permits && (r.holders.n > 0 || r.present() > 0)
}

// byID returns the claim of that owner with that id, or nil.
func (r *resource) byID(owner, id string) *claim {
	if r.index != nil {
		return r.index.byID[ownerID{owner, id}]
	}
	for c := r.holders.head; c != nil; c = c.next {
		if c.owner == owner && c.id() == id {
			return c
		}
	}
	if r.queue != nil {
		for c := r.queue.head; c != nil; c = c.next {
			if c.owner == owner && c.id() == id {
				return c
			}
		}
	}
	return nil
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

// byOwner returns how many grants the owner has, and the one if it is one.
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
