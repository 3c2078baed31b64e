package httpapi

import (
	"bytes"
	"log/slog"
	"net"
	"net/http"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Limit returns a listener that closes a connection at once where there are most already, and that gives the answers that net/http
// makes by itself, to what is no HTTP, the form of ours.
func Limit(l net.Listener, most int, version string, log *slog.Logger) net.Listener {
	return &limitListener{Listener: l, most: int64(most), headers: newHeaders(version), log: log}
}

type limitListener struct {
	net.Listener
	most    int64
	open    atomic.Int64
	warned  time.Time // when the limit was last logged; only Accept uses it
	headers headers
	log     *slog.Logger
}

// warnEvery keeps a flood of connections from becoming a flood of log lines.
const warnEvery = 10 * time.Second

func (l *limitListener) Accept() (net.Conn, error) {
	for {
		c, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if l.open.Add(1) <= l.most {
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

// CloseWrite lets net/http end an answer before the connection.
func (c *conn) CloseWrite() error {
	if w, ok := c.Conn.(interface{ CloseWrite() error }); ok {
		return w.CloseWrite()
	}
	return nil
}

// Write passes our answers on. Those of net/http are told by their first lines, which ours never have: it writes each in one piece.
func (c *conn) Write(b []byte) (int, error) {
	if len(b) > 9 && (b[9] == '4' || b[9] == '5') && string(b[:9]) == "HTTP/1.1 " {
		if p := foreign(b); p != nil {
			if _, err := c.Conn.Write(c.listener.rawAnswer(p)); err != nil {
				return 0, err
			}
			return len(b), nil
		}
	}
	return c.Conn.Write(b)
}

// foreign returns what an answer of net/http says, in our terms; nil for one of ours.
func foreign(b []byte) *problem {
	const expectationFailed = "417"
	head, text, _ := bytes.Cut(b, []byte("\r\n\r\n"))
	status := string(b[9:12])
	if status == expectationFailed {
		return &problem{code: codeInvalidRequest, field: "Expect", detail: "Expect is not known; allowed: 100-continue"}
	}
	if !bytes.HasSuffix(head, []byte("\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close")) {
		return nil
	}
	if status == "431" {
		return &problem{code: codeTooLarge, detail: "the headers of the request are too large; allowed: " + strconv.Itoa(maxHeader) + " bytes"}
	}
	return &problem{code: codeInvalidRequest, field: "request", detail: "the request is no HTTP/1.1: " + shorten(text)}
}

// rawAnswer is a whole answer, made without net/http.
func (l *limitListener) rawAnswer(p *problem) []byte {
	status, _ := p.code.row()
	body := appendProblem(nil, p)
	var b []byte
	b = append(b, "HTTP/1.1 "+strconv.Itoa(status)+" "+http.StatusText(status)+"\r\n"...)
	b = append(b, "Server: "+l.headers.server[0]+"\r\n"...)
	b = append(b, "Date: "+time.Now().UTC().Format(http.TimeFormat)+"\r\n"...)
	b = append(b, "Content-Type: "+l.headers.problem[0]+"\r\n"...)
	b = append(b, "Content-Length: "+strconv.Itoa(len(body))+"\r\n"...)
	b = append(b, "Connection: close\r\n\r\n"...)
	return append(b, body...)
}
