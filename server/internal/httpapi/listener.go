package httpapi

import (
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockserver/lockserver/server/internal/fault"
)

// Limit returns a listener that closes a new connection at once if most are open.
func Limit(l net.Listener, most int, log *slog.Logger) net.Listener {
	return &limitListener{Listener: l, most: int64(most), log: log}
}

type limitListener struct {
	net.Listener
	most   int64
	open   atomic.Int64
	warned time.Time // when the limit was last logged; only Accept uses it
	log    *slog.Logger
}

// warnEvery keeps a flood of connections from flooding the log.
const warnEvery = 10 * time.Second

func (l *limitListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most || fault.ConnectionsWithoutLimit {
			return &conn{Conn: c, listener: l}, nil
		}
		l.open.Add(-1)
		_ = c.Close()
		if time.Since(l.warned) > warnEvery {
			l.warned = time.Now()
			l.log.Warn("connection closed: there are as many as may be (--max-connections)", "max_connections", l.most)
		}
	}
}

type conn struct {
	net.Conn
	listener *limitListener
	once     sync.Once
}

func (c *conn) Close() error {
	c.once.Do(func() { c.listener.open.Add(-1) })
	return c.Conn.Close()
}

// CloseWrite lets net/http shut down the writing side before it closes the connection.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}
