package session

// Unsent returns how many bytes of answers all sessions count as waiting to be written.
func (s *Server) Unsent() (bytes int) {
	s.each(func(x *session) {
		x.mu.Lock()
		bytes += x.unsent
		x.mu.Unlock()
	})
	return bytes
}

// Calls are the calls of a session that does not exist.
type Calls struct{ calls calls }

// Begin makes a call that names a resource. It returns false if its seq is in use.
func (c *Calls) Begin(seq int64, resource string) (slot uint32, ok bool) {
	return c.calls.begin(call{seq: seq, taken: true}, names{resource: resource})
}

// Names returns what the call in a slot names.
func (c *Calls) Names(slot uint32) (seq int64, resource string) {
	call := c.calls.at(slot)
	return call.seq, c.calls.namesOf(call).resource
}

// End answers the call in a slot.
func (c *Calls) End(slot uint32) {
	c.calls.answered(c.calls.at(slot))
	c.calls.end([]uint32{slot})
}
