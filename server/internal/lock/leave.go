package lock

// Leave says that the request behind the ticket went away without its answer. A waiter leaves the queue; with an id its place is
// kept. A grant is handed to the next waiter: at once without an id, else unless a request with the id comes within PlaceKept,
// and only once no other answer may have brought the grant to its client. Leave does nothing if the request has been refused, told to
// come again, or taken over by a newer one before it had the grant, or if the claim has ended.
func (t *Table) Leave(now int64, ticket Ticket) {
	c := ticket.c
	if c == nil || c.state == ended {
		return
	}
	t.lost(now, c, ticket.gen)
	if c.gen != ticket.gen {
		return
	}
	c.turn()
	switch {
	case c.state == held && c.id != "":
	case c.state == held:
		t.end(now, c, EventHandedBack)
	case c.id != "":
		t.absent(now, c, WhyGone)
		t.promote(now, c.res)
	default:
		t.forget(now, c, WhyGone)
	}
	t.done()
}

// lost says that the answer to the request of a generation has not told its client of the grant, and never will. Nobody can claim a
// grant of which no answer told.
func (t *Table) lost(now int64, c *claim, gen uint32) {
	age := c.gen - gen
	if c.state != held || c.id == "" || age >= forSure || c.told>>age&1 == 0 {
		return
	}
	c.told &^= 1 << age
	if c.told == 0 {
		c.offered = false
		c.mark = now + int64(PlaceKept)
		t.arm(c)
	}
}

// Drain answers every waiter, and every Acquire from now on, that the server is shutting down.
func (t *Table) Drain(now int64) {
	t.draining = true
	for r := t.oldest; r != nil; {
		next := r.next
		for r.waiters() > 0 {
			c := r.queue.head
			if p := c.parked; p != nil {
				t.answer(p.Reply, r, Answer{Code: Draining})
			}
			t.leave(now, c, WhyDraining)
		}
		t.drop(r)
		r = next
	}
}
