package httpapi

import (
	"net"
	"net/http"
	"sync"
)

// Silent are the connections on which nothing was ever asked, such as those that clients open in advance. A shutdown of net/http
// waits up to 5 s for each of them.
type Silent struct {
	mu    sync.Mutex
	conns map[net.Conn]struct{}
}

// NewSilent watches the connections of a server that does not run yet.
func NewSilent(server *http.Server) *Silent {
	s := &Silent{conns: make(map[net.Conn]struct{})}
	server.ConnState = s.watch
	return s
}

func (s *Silent) watch(c net.Conn, state http.ConnState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if state == http.StateNew {
		s.conns[c] = struct{}{}
	} else {
		delete(s.conns, c)
	}
}

// Close closes those that there are now.
func (s *Silent) Close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.Close()
	}
}
