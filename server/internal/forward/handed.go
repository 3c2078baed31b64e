package forward

import (
	"bufio"
	"net"
	"net/http"
	"sync"
)

// handing notes what of an answer was handed to the client's connection.
type handing struct {
	http.ResponseWriter
	wrote bool
	err   error
	conn  *counting // of a session
}

// Unwrap is for http.ResponseController.
func (h *handing) Unwrap() http.ResponseWriter { return h.ResponseWriter }

func (h *handing) Write(b []byte) (int, error) {
	h.wrote = true
	n, err := h.ResponseWriter.Write(b)
	if err != nil {
		h.err = err
	}
	return n, err
}

// whole reports whether the connection took all of the answer.
func (h *handing) whole() bool {
	return h.wrote && h.err == nil && http.NewResponseController(h.ResponseWriter).Flush() == nil
}

// Hijack gives the connection, for a session.
func (h *handing) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, rw, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	h.conn = &counting{Conn: conn}
	return h.conn, rw, nil
}

// counting is a connection that counts what it took.
type counting struct {
	net.Conn
	mu   sync.Mutex // held while it is written to
	took int64
	over bool
}

func (c *counting) Write(b []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.over {
		return 0, net.ErrClosed
	}
	n, err := c.Conn.Write(b)
	c.took += int64(n)
	return n, err
}

// end returns how much the connection took in all. It must have been closed.
func (c *counting) end() int64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.over = true
	return c.took
}
