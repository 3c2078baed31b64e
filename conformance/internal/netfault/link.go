// Package netfault stands between drivers and a server: Toxiproxy makes the faults of a network, and behind it a tap records
// every request and makes the faults that need to know what a request is.
package netfault

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/rs/zerolog"
)

// Link is the way of one case's drivers to its server.
type Link struct {
	proxy *toxiproxy.Proxy
	tap   *tap
	http  *http.Server
	addr  string
	ca    []byte
}

// Options of a link.
type Options struct {
	// Listen is the address without a port to listen on; Reach the one by which drivers come there.
	Listen, Reach string
	// Prefix is a path below which the server seems to be ("" for none); other paths get 404.
	Prefix string
	// TLS makes the link speak https, with a certificate that only CA vouches for: "right", for "another-host", or in an "old-version".
	TLS string
}

// New opens a link to the server at upstream(), which is asked anew for each connection.
func New(upstream func() string, o Options) (*Link, error) {
	inner, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	l := &Link{tap: newTap(upstream, o.Prefix)}
	gate := &gate{Listener: inner, tap: l.tap}
	l.http = &http.Server{Handler: l.tap, ConnContext: withConn, ErrorLog: log.New(io.Discard, "", 0)}
	serve := l.http.Serve
	if o.TLS != "" {
		cert, ca, err := certificate(o.Reach, o.TLS == "another-host")
		if err != nil {
			return nil, errors.Join(err, inner.Close())
		}
		l.ca, l.http.TLSConfig = ca, &tls.Config{Certificates: []tls.Certificate{cert}}
		if o.TLS == "old-version" {
			l.http.TLSConfig.MinVersion, l.http.TLSConfig.MaxVersion = tls.VersionTLS10, tls.VersionTLS11
		}
		serve = func(in net.Listener) error { return l.http.ServeTLS(in, "", "") }
	}
	go func() { _ = serve(gate) }() // always ends with ErrServerClosed, by Close

	logger := zerolog.Nop()
	api := toxiproxy.NewServer(toxiproxy.NewMetricsContainer(prometheus.NewRegistry()), logger)
	l.proxy = toxiproxy.NewProxy(api, "link", net.JoinHostPort(o.Listen, "0"), inner.Addr().String())
	if err := l.proxy.Start(); err != nil {
		return nil, errors.Join(err, l.http.Close())
	}
	_, port, err := net.SplitHostPort(l.proxy.Listen)
	if err != nil {
		return nil, err
	}
	l.addr = net.JoinHostPort(o.Reach, port)
	return l, nil
}

// Addr is host:port as drivers reach it.
func (l *Link) Addr() string { return l.addr }

// SuiteAddr is host:port as the suite itself reaches it.
func (l *Link) SuiteAddr() string { return l.proxy.Listen }

// CA is the authority, in PEM, that vouches for a link that speaks https.
func (l *Link) CA() []byte { return l.ca }

// Cut closes all connections and refuses new ones.
func (l *Link) Cut() { l.tap.cut(true) }

// Blackhole lets connections live and come, and passes nothing.
func (l *Link) Blackhole() error {
	return errors.Join(l.toxic("timeout", "upstream", map[string]any{"timeout": 0}), l.toxic("timeout", "downstream", map[string]any{"timeout": 0}))
}

// Delay makes every answer late by so many seconds.
func (l *Link) Delay(seconds float64) error {
	return l.toxic("latency", "downstream", map[string]any{"latency": int(seconds * 1000)})
}

// DropAnswers lets requests reach the server, and closes the connection in place of an answer.
func (l *Link) DropAnswers() error {
	return l.toxic("limit_data", "downstream", map[string]any{"bytes": 0})
}

func (l *Link) toxic(kind, stream string, attributes map[string]any) error {
	b, err := json.Marshal(map[string]any{"type": kind, "stream": stream, "attributes": attributes})
	if err != nil {
		return err
	}
	_, err = l.proxy.Toxics.AddToxicJson(bytes.NewReader(b))
	return err
}

// Heal ends every fault of the network.
func (l *Link) Heal() {
	l.tap.cut(false)
	l.proxy.Toxics.ResetToxics(zerolog.Nop().WithContext(noContext()))
}

// Intercept adds a rule for requests to come.
func (l *Link) Intercept(r *Rule) { l.tap.add(r) }

// Requests are the requests so far, in the order in which they came.
func (l *Link) Requests() []Request { return l.tap.requests() }

// Close ends the link.
func (l *Link) Close() error {
	l.tap.close()
	l.proxy.Stop()
	return l.http.Close()
}

// Deaf is an address where connections are neither accepted nor refused: a listener whose queue is full.
type Deaf struct {
	file  *os.File
	conns []net.Conn
	addr  string
}

// Addr is host:port.
func (d *Deaf) Addr() string { return d.addr }

// Close ends it.
func (d *Deaf) Close() error {
	var errs []error
	for _, c := range d.conns {
		errs = append(errs, c.Close())
	}
	return errors.Join(append(errs, d.file.Close())...)
}

// Closed is an address that refuses connections for as long as it is not closed itself: a bound socket that does not listen.
type Closed struct {
	file *os.File
	addr string
}

// Addr is host:port.
func (c *Closed) Addr() string { return c.addr }

// Close frees the port.
func (c *Closed) Close() error { return c.file.Close() }

func drain(r io.Reader) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, 1<<20))
	if err != nil {
		return nil, fmt.Errorf("read: %w", err)
	}
	return b, nil
}
