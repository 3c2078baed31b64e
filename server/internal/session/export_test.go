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
