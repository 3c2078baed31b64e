// Package netfault stands between drivers and a server: a link records every request, and makes the faults of a network and those that
// need to know what a request is.
package netfault

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Link is the way of one case's drivers to its server.
type Link struct {
	*tap
	http     *http.Server
	listener net.Listener
	addr     string
	ca       []byte
	files    map[string][]byte // of clients; nil if none is wanted

	mu      sync.Mutex
	conns   map[*linkConn]struct{}
	serial  int
	refuses bool          // new connections are closed at once
	passes  chan struct{} // is closed while bytes pass
	delay   time.Duration // of what goes to the driver
	drops   bool          // what goes to the driver ends its connection
}

// Options of a link.
type Options struct {
	// Listen is the address without a port to listen on; Reach the one by which drivers come there.
	Listen, Reach string
	// Prefix is a path below which the server seems to be ("" for none); other paths get 404.
	Prefix string
	// TLS makes the link speak https, with a certificate that only CA vouches for: "right", for "another-host", in an "old-version", or to
	// clients with a certificate alone ("with-client").
	TLS string
	// NoSessions makes the link answer 404 to who asks for a session, as a server without them does.
	NoSessions bool
}

// New opens a link to the server at upstream(), which is asked anew for each connection.
func New(upstream func() string, o Options) (*Link, error) {
	l := &Link{tap: newTap(upstream, o), conns: map[*linkConn]struct{}{}, passes: make(chan struct{})}
	close(l.passes)
	l.http = &http.Server{Handler: l.tap, ConnContext: withConn, ErrorLog: log.New(io.Discard, "", 0)}
	serve := l.http.Serve
	if o.TLS != "" {
		cert, ca, err := certificate(o.Reach, o.TLS == "another-host")
		if err != nil {
			return nil, err
		}
		l.ca, l.http.TLSConfig = ca, &tls.Config{Certificates: []tls.Certificate{cert}}
		if o.TLS == "old-version" {
			l.http.TLSConfig.MinVersion, l.http.TLSConfig.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		}
		if o.TLS == "with-client" {
			if err := l.wantClient(); err != nil {
				return nil, err
			}
		}
		serve = func(in net.Listener) error { return l.http.ServeTLS(in, "", "") }
	}
	var err error
	if l.listener, l.addr, err = listen(o.Listen, o.Reach); err != nil {
		return nil, err
	}
	go func() { _ = serve(gate{l.listener, l}) }() // always ends with ErrServerClosed, by Close
	return l, nil
}

// listen listens on a free port, and says how drivers reach it.
func listen(host, reach string) (net.Listener, string, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	if err != nil {
		return nil, "", err
	}
	_, port, err := net.SplitHostPort(l.Addr().String())
	return l, net.JoinHostPort(reach, port), err
}

// Addr is host:port as drivers reach it.
func (l *Link) Addr() string { return l.addr }

// SuiteAddr is host:port as the suite itself reaches it.
func (l *Link) SuiteAddr() string { return l.listener.Addr().String() }

// wantClient makes the link want a certificate, and the files of one that it accepts, and of a stranger's.
func (l *Link) wantClient() error {
	l.files = map[string][]byte{}
	for _, name := range []string{"client", "stranger"} {
		cert, certPEM, keyPEM, err := clientPair()
		if err != nil {
			return err
		}
		l.files[name+".pem"], l.files[name+"-key.pem"] = certPEM, keyPEM
		if name == "client" {
			l.http.TLSConfig.ClientAuth, l.http.TLSConfig.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
			l.http.TLSConfig.ClientCAs.AddCert(cert)
		}
	}
	return nil
}

// Files are the certificates and keys of clients, by the names of their files.
func (l *Link) Files() map[string][]byte { return l.files }

// CA is the authority, in PEM, that vouches for a link that speaks https.
func (l *Link) CA() []byte { return l.ca }

// Control makes a fault of the network: cut (all connections are closed, new ones refused), blackhole (connections live and come, and
// nothing passes), drop_answers (requests reach the server; connections are closed in place of an answer); or a delay of every answer.
// With heal all faults end, and what was held back arrives.
func (l *Link) Control(fault string, delay time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch fault {
	case "cut":
		l.refuses = true
		for c := range l.conns {
			_ = c.Conn.Close() // its request is cancelled, and so is the one to the server
		}
	case "blackhole":
		l.passes = make(chan struct{})
	case "drop_answers":
		l.drops = true
	case "heal":
		l.refuses, l.delay, l.drops = false, 0, false
		select {
		case <-l.passes:
		default:
			close(l.passes)
		}
	default:
		l.delay = delay
	}
}

// Close ends the link. The error also says what its faults were asked for in vain.
func (l *Link) Close() error {
	l.tap.end()
	l.Control("cut", 0)
	l.tap.mu.Lock()
	defer l.tap.mu.Unlock()
	return errors.Join(l.tap.wrong, l.http.Close())
}

// gate is the link's listener: it numbers connections, and closes new ones at once while the link is cut.
type gate struct {
	net.Listener
	link *Link
}

func (g gate) Accept() (net.Conn, error) {
	for {
		c, err := g.Listener.Accept()
		if err != nil {
			return nil, err
		}
		g.link.mu.Lock()
		if g.link.refuses {
			g.link.mu.Unlock()
			_ = c.Close()
			continue
		}
		g.link.serial++
		conn := &linkConn{Conn: c, link: g.link, serial: g.link.serial}
		g.link.conns[conn] = struct{}{}
		g.link.mu.Unlock()
		return conn, nil
	}
}

// linkConn is a driver's connection, on which the faults of the network happen.
type linkConn struct {
	net.Conn
	link   *Link
	serial int
	always atomic.Bool // what is written is no answer, which drop_answers would drop
}

// faults are those of this moment, once bytes pass.
func (c *linkConn) faults() (delay time.Duration, drops bool) {
	c.link.mu.Lock()
	passes := c.link.passes
	c.link.mu.Unlock()
	select {
	case <-passes:
	case <-c.link.tap.ctx.Done():
	}
	c.link.mu.Lock()
	defer c.link.mu.Unlock()
	return c.link.delay, c.link.drops
}

// Read holds back what came, the end too.
func (c *linkConn) Read(b []byte) (int, error) {
	n, err := c.Conn.Read(b)
	c.faults()
	return n, err
}

func (c *linkConn) Write(b []byte) (int, error) {
	delay, drops := c.faults()
	if drops && !c.always.Load() {
		return 0, errors.Join(errors.New("the link drops answers"), c.Close())
	}
	if delay > 0 {
		select {
		case <-time.After(delay):
		case <-c.link.tap.ctx.Done():
		}
	}
	return c.Conn.Write(b)
}

func (c *linkConn) Close() error {
	c.link.mu.Lock()
	delete(c.link.conns, c)
	refuses := c.link.refuses
	c.link.mu.Unlock()
	if tcp, ok := c.Conn.(*net.TCPConn); ok && c.link.files != nil && !refuses {
		go linger(tcp)
		return nil
	}
	return c.Conn.Close()
}

// linger lets a client read why it was refused: a connection that is closed with unread data is reset.
func linger(c *net.TCPConn) {
	defer c.Close()
	if c.CloseWrite() == nil && c.SetReadDeadline(time.Now().Add(time.Second)) == nil {
		_, _ = io.Copy(io.Discard, c)
	}
}
