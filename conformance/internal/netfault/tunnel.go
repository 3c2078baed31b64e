package netfault

import (
	"encoding/base64"
	"io"
	"net"
	"net/http"
)

// Tunnel is a web proxy for those who know its user and password. It takes CONNECT alone, and connects to one server whatever host
// it is asked for: so who reaches the server under a name that does not exist has come by the proxy.
type Tunnel struct {
	http     http.Server
	addr     string
	upstream func() string
}

// TunnelUser is who may use a Tunnel, with the password.
const TunnelUser = "suite:open-sesame"

// NewTunnel opens a proxy to upstream(), which is asked anew for each connection.
func NewTunnel(host, reach string, upstream func() string) (*Tunnel, error) {
	l, addr, err := listen(host, reach)
	if err != nil {
		return nil, err
	}
	t := &Tunnel{addr: addr, upstream: upstream}
	t.http.Handler = t
	go func() { _ = t.http.Serve(l) }() // always ends with ErrServerClosed, by Close
	return t, nil
}

// Addr is host:port as drivers reach it.
func (t *Tunnel) Addr() string { return t.addr }

// Close ends the proxy. Who is connected through it stays so until one of the two ends.
func (t *Tunnel) Close() error { return t.http.Close() }

// ServeHTTP connects a client. What fails then is seen by both ends as a connection that ends.
func (t *Tunnel) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodConnect {
		w.WriteHeader(http.StatusMethodNotAllowed)
		return
	}
	if r.Header.Get("Proxy-Authorization") != "Basic "+base64.StdEncoding.EncodeToString([]byte(TunnelUser)) {
		w.Header().Set("Proxy-Authenticate", "Basic")
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	server, err := net.Dial("tcp", t.upstream())
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	defer server.Close()
	client, sent, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer client.Close()
	go func() {
		_, _ = io.Copy(server, sent)
		_ = server.(*net.TCPConn).CloseWrite()
	}()
	if _, err := io.WriteString(client, "HTTP/1.1 200 Connection established\r\n\r\n"); err == nil {
		_, _ = io.Copy(client, server)
	}
}
