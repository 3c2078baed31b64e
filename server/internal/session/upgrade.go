package session

import (
	"bytes"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gobwas/ws"

	"github.com/lockserver/lockserver/server/internal/forward"
	"github.com/lockserver/lockserver/server/internal/wire"
)

const upgradeTimeout = 10 * time.Second

// Upgrade turns the connection of a request into a session. The caller has checked the secret. If there is a problem, nothing has been
// written yet.
func (s *Server) Upgrade(w http.ResponseWriter, r *http.Request) *wire.Problem {
	if p := s.check(r); p != nil {
		return p
	}
	upgrader := ws.HTTPUpgrader{
		Timeout:  upgradeTimeout,
		Protocol: func(p string) bool { return p == wire.SessionSubprotocol },
		Header:   http.Header{"Server": w.Header()["Server"]},
	}
	conn, rw, _, err := upgrader.Upgrade(r, w)
	if err != nil {
		s.log.Debug("session refused", "error", err, "remote", r.RemoteAddr)
		if conn != nil {
			_ = conn.Close()
		}
		return nil
	}
	_ = conn.SetDeadline(time.Time{}) // if it fails, so will the first read
	var early []byte
	if n := rw.Reader.Buffered(); n > 0 {
		early, _ = rw.Reader.Peek(n)
	}
	passedAs := ""
	if s.cfg.Reports != nil {
		passedAs = forward.NameOf(r)
	}
	s.serve(conn, bytes.Clone(early), r.RemoteAddr, passedAs)
	return nil
}

// Serve makes a session of a connection that was upgraded, and returns at once. What came with the upgrade is early.
func (s *Server) Serve(conn net.Conn, early []byte, from string) { s.serve(conn, early, from, "") }

// serve does so for a request that another server may have passed on under a name.
func (s *Server) serve(conn net.Conn, early []byte, from, passedAs string) {
	var in io.Reader = conn
	if len(early) > 0 {
		in = io.MultiReader(bytes.NewReader(early), conn)
	}
	x := newSession(s, conn, in, from)
	x.passed.name = passedAs
	if !s.add(x) {
		_ = conn.Close() // the server began to shut down, or to stand by, just now
	}
}

// check says why a request cannot become a session.
func (s *Server) check(r *http.Request) *wire.Problem {
	wrong := func(field, detail string) *wire.Problem {
		return &wire.Problem{Code: wire.InvalidRequest, Field: field, Detail: detail}
	}
	s.mu.Lock()
	draining := s.draining
	s.mu.Unlock()
	switch {
	case draining:
		return &wire.Problem{Code: wire.Draining, Detail: "the server shuts down", Reason: "draining"}
	case r.ProtoMajor != 1:
		return wrong("request", "a session begins with HTTP/1.1, not with "+r.Proto)
	case r.Method != http.MethodGet || !hasToken(r.Header, "Connection", "upgrade", strings.EqualFold) || !hasToken(r.Header, "Upgrade", "websocket", strings.EqualFold):
		return wrong("Upgrade", "this is a WebSocket (RFC 6455); allowed: Connection: Upgrade and Upgrade: websocket")
	case r.Header.Get("Sec-WebSocket-Version") != "13":
		return wrong("Sec-WebSocket-Version", "Sec-WebSocket-Version is "+wire.Shorten([]byte(r.Header.Get("Sec-WebSocket-Version")))+"; allowed: 13")
	case len(r.Header.Get("Sec-WebSocket-Key")) != 24:
		return wrong("Sec-WebSocket-Key", "Sec-WebSocket-Key is not 16 bytes in base64")
	case !hasToken(r.Header, "Sec-WebSocket-Protocol", wire.SessionSubprotocol, func(a, b string) bool { return a == b }):
		return wrong("Sec-WebSocket-Protocol", "Sec-WebSocket-Protocol does not offer "+wire.SessionSubprotocol)
	case !sameOrigin(r):
		return wrong("Origin", "Origin is not this server; sessions are not for web pages of others")
	}
	return nil
}

// hasToken reports whether a header has a token among its comma-separated values.
func hasToken(h http.Header, name, token string, equal func(a, b string) bool) bool {
	for _, line := range h.Values(name) {
		for value := range strings.SplitSeq(line, ",") {
			if equal(strings.TrimSpace(value), token) {
				return true
			}
		}
	}
	return false
}

// sameOrigin reports whether a browser, if it is one, sent the request for a page of this server.
func sameOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && strings.EqualFold(u.Host, r.Host)
}
