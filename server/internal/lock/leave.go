package lock

// Leave says that the request behind the ticket went away without its answer. A waiter leaves the queue; with an id its place is
// kept. A grant is handed to the next waiter: at once without an id, else unless a request with the id comes within PlaceKept.
// Leave does nothing if the request has been refused, told to come again, or taken over by a newer one, or if the claim has ended.
func (t *Table) Leave(now int64, ticket Ticket) {
	c := ticket.c
	if c == nil || c.gen != ticket.gen || c.state == ended {
		return
	}
	c.gen++
	switch {
	case c.state == held && c.id != "":
		c.offered = false
		c.mark = now + int64(PlaceKept)
		t.arm(c)
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
