package netfault

import (
	"bufio"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"sync"
)

// Tunnel is a web proxy for those who know its user and password. It takes CONNECT alone, and connects to one server whatever host
// it is asked for: so who reaches the server under a name that does not exist has come by the proxy.
type Tunnel struct {
	listener net.Listener
	addr     string
	upstream func() string

	mu    sync.Mutex
	conns map[net.Conn]struct{} // nil once closed
}

// TunnelUser is who may use a Tunnel, with the password.
const TunnelUser = "suite:open-sesame"

// NewTunnel opens a proxy to upstream(), which is asked anew for each connection.
func NewTunnel(listen, reach string, upstream func() string) (*Tunnel, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(listen, "0"))
	if err != nil {
		return nil, err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	if err != nil {
		return nil, err
	}
	t := &Tunnel{listener: l, addr: net.JoinHostPort(reach, port), upstream: upstream, conns: map[net.Conn]struct{}{}}
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return // closed
			}
			go t.serve(c)
		}
	}()
	return t, nil
}

// Addr is host:port as drivers reach it.
func (t *Tunnel) Addr() string { return t.addr }

// Close ends the proxy and every connection through it.
func (t *Tunnel) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	for c := range t.conns {
		_ = c.Close()
	}
	t.conns = nil
	return t.listener.Close()
}

// hold keeps a connection for Close, unless that was before.
func (t *Tunnel) hold(c net.Conn) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.conns == nil {
		return false
	}
	t.conns[c] = struct{}{}
	return true
}

func (t *Tunnel) drop(c net.Conn) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.conns, c)
	_ = c.Close()
}

// serve handles one connection. What fails in it is seen by its client as a connection that ends.
func (t *Tunnel) serve(client net.Conn) {
	defer t.drop(client)
	if !t.hold(client) {
		return
	}
	in := bufio.NewReader(client)
	r, err := http.ReadRequest(in)
	if err != nil {
		return
	}
	switch {
	case r.Method != http.MethodConnect:
		_, _ = io.WriteString(client, "HTTP/1.1 405 Method Not Allowed\r\nAllow: CONNECT\r\nContent-Length: 0\r\n\r\n")
		return
	case r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(TunnelUser)):
		_, _ = io.WriteString(client, "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n")
		return
	}
	server, err := net.Dial("tcp", t.upstream())
	if err != nil {
		_, _ = io.WriteString(client, "HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
		return
	}
	defer t.drop(server)
	if !t.hold(server) {
		return
	}
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err != nil {
		return
	}
	go func() {
		_, _ = io.Copy(server, in)
		_ = server.(*net.TCPConn).CloseWrite()
	}()
	_, _ = io.Copy(client, server)
}
