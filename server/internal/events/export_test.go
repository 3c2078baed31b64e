package events

// Watching reports whether the engine is asked for events.
func (h *Hub) Watching() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.sub != nil
}
