package play

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/lockserver/lockserver/conformance/internal/cases"
)

// tcp writes bytes to the server as they are, on a connection of their own or on one that is kept, and reads one answer. The sending
// side stays open. To give the operation up is to reset its connection.
func (r *run) tcp(ctx context.Context, s *cases.Step, a *cases.TCP) (*op, error) {
	bytes := strings.ReplaceAll(a.Send, "\n", "\r\n")
	if a.Body != nil { // its length is announced
		body, err := r.body(a.Body)
		if err != nil {
			return nil, err
		}
		bytes += fmt.Sprintf("Content-Length: %d\r\n\r\n%s", len(body), body)
	}
	if a.On != "" {
		o, err := r.op(a.On)
		if err == nil && o.conn == nil {
			err = fmt.Errorf("%s is no connection", a.On)
		}
		if err == nil {
			_, err = io.WriteString(o.conn, bytes)
		}
		return nil, err
	}
	dial, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(dial, "tcp", r.server.SuiteAddr())
	if err != nil {
		return nil, err
	}
	if a.HangUp {
		_, err := io.WriteString(conn, bytes)
		return nil, errors.Join(err, conn.Close())
	}
	o := begin(cmp.Or(s.As, "tcp"), func() { reset(conn) }, func() (map[string]any, error) {
		if !a.Keep {
			defer reset(conn)
		}
		return converse(conn, bytes)
	})
	o.conn = conn
	return o, nil
}

// converse sends a request and gives the first answer, which may be an interim one.
func converse(conn net.Conn, request string) (map[string]any, error) {
	if _, err := io.WriteString(conn, request); err != nil {
		return nil, err
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return nil, err
	}
	return answer(res)
}

// reset ends a connection as one that broke: its peer is told so, and not that it was closed in order.
func reset(conn net.Conn) {
	if c, ok := conn.(*net.TCPConn); ok {
		_ = c.SetLinger(0) // fails on a connection that has ended
	}
	_ = conn.Close()
}
