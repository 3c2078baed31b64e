package lockserver

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"
)

const secretHeader = "X-LOCKSERVER-SECRET"

// httpTransport speaks HTTP/1.1: a call that waits has a connection to itself, so that it never stands in the way of a release, and a
// retry can be sure of a new one.
type httpTransport struct {
	base    *url.URL
	hop     time.Duration // longest wait asked of the server at once, as there may be proxies that cut off what takes long
	header  http.Header   // of every request
	foreign bool          // the program brought the RoundTripper, which may not know that it must leave headers alone
	pool    http.RoundTripper
	single  http.RoundTripper // makes a connection for each request
	closed  atomic.Bool
}

func newHTTPTransport(s *settings, base, proxy *url.URL) *httpTransport {
	t := &httpTransport{base: base, hop: s.Bounds.Hop, header: http.Header{
		http.CanonicalHeaderKey(secretHeader): {s.Secret},
		"Content-Type":                        {"application/json"},
		"User-Agent":                          {"lockserver-go"},
	}}
	if s.HTTPClient != nil {
		t.pool = s.HTTPClient.Transport
	}
	if t.foreign = t.pool != nil; !t.foreign {
		t.pool = defaultPool(s, proxy)
	}
	t.single = flushing{t.pool}
	if pool, ok := t.pool.(*http.Transport); ok {
		single := pool.Clone()
		single.DisableKeepAlives = true
		t.single = single
	}
	return t
}

// defaultPool follows no proxy of the environment: a lock must not travel through one by accident.
func defaultPool(s *settings, proxy *url.URL) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	trust := &tls.Config{RootCAs: s.RootCAs, MinVersion: tls.VersionTLS12}
	trust.GetClientCertificate = s.ClientCertificate
	dialer := &net.Dialer{Timeout: s.Bounds.Connect}
	pool := &http.Transport{
		DialContext:         dialer.DialContext,
		TLSClientConfig:     trust,
		TLSHandshakeTimeout: s.Bounds.Connect,
		MaxIdleConnsPerHost: 1024,
		IdleConnTimeout:     30 * time.Second,
		Protocols:           protocols,
		DisableCompression:  true, // answers are small
	}
	if proxy != nil {
		pool.DialContext = (&tunnel{dialer: dialer, proxy: proxy, trust: trust}).dial
	}
	return pool
}

// flushing stands in for single if a program brought a RoundTripper of its own: it drops what is idle before a request.
type flushing struct{ http.RoundTripper }

func (f flushing) RoundTrip(r *http.Request) (*http.Response, error) {
	(&http.Client{Transport: f.RoundTripper}).CloseIdleConnections()
	return f.RoundTripper.RoundTrip(r)
}

func (t *httpTransport) peer() string { return t.base.Host }

func (t *httpTransport) close() {
	t.closed.Store(true)
	for _, rt := range []http.RoundTripper{t.pool, t.single} {
		if rt != http.DefaultTransport {
			(&http.Client{Transport: rt}).CloseIdleConnections()
		}
	}
}

func (t *httpTransport) send(ctx context.Context, a attempt) outcome {
	if a.follow != nil {
		return t.follow(ctx, a)
	}
	a.hold(t.hop)
	bound := min(a.wait+a.bound, a.limit)
	bounded, cancel := a.bounded(ctx, bound)
	defer cancel()
	request, err := t.request(bounded, a)
	if err != nil {
		return outcome{reason: err.Error(), cause: err, unsent: true, permanent: true}
	}
	route := t.pool
	if a.again || t.closed.Load() {
		route = t.single
	}
	response, err := route.RoundTrip(request)
	if err != nil {
		return t.failure(ctx, bounded, bound, err)
	}
	defer response.Body.Close()
	body, err := readAnswer(response, a.op.answerMax)
	if err != nil {
		return t.failure(ctx, bounded, bound, err)
	}
	return outcome{answer: answer{response.StatusCode, body, retryAfter(response.Header.Get("Retry-After")), t.peer()}}
}

func (t *httpTransport) request(ctx context.Context, a attempt) (*http.Request, error) {
	target := *t.base
	target.Path += a.op.path
	if target.RawPath != "" {
		target.RawPath += a.op.path
	}
	request := (&http.Request{
		Method: a.op.method, URL: &target, Host: target.Host, Header: t.header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	if t.foreign {
		request.Header = t.header.Clone()
	}
	body, err := appendRequest(make([]byte, 0, 256), a.request)
	if err != nil {
		return nil, err
	}
	if a.op.query {
		target.RawQuery, err = query(body)
		return request, err
	}
	request.ContentLength = int64(len(body))
	request.Body = io.NopCloser(bytes.NewReader(body))
	request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	return request, nil
}

// query makes a query of the members of an object.
func query(object []byte) (string, error) {
	members := json.NewDecoder(bytes.NewReader(object))
	members.UseNumber()
	var all map[string]any
	if err := members.Decode(&all); err != nil {
		return "", err
	}
	values := url.Values{}
	for name, value := range all {
		values.Set(name, fmt.Sprint(value))
	}
	return values.Encode(), nil
}

// readAnswer reads an answer to its end, without which its connection could not be used again, or a byte more than is allowed.
func readAnswer(response *http.Response, most int) ([]byte, error) {
	if n := response.ContentLength; n >= 0 && n <= int64(most) {
		body := make([]byte, n)
		_, err := io.ReadFull(response.Body, body)
		return body, err
	}
	return io.ReadAll(io.LimitReader(response.Body, int64(most)+1))
}

func retryAfter(value string) time.Duration {
	if value == "" {
		return 0
	}
	if seconds, err := strconv.ParseFloat(value, 64); err == nil {
		return max(0, duration(min(seconds, 3600)))
	}
	if date, err := http.ParseTime(value); err == nil {
		return max(0, time.Until(date))
	}
	return 0
}

// failure says of an attempt without an answer what it came to.
func (t *httpTransport) failure(ctx, bounded context.Context, bound time.Duration, err error) outcome {
	o := outcome{cause: err, permanent: isPermanent(err)}
	var dial *net.OpError
	o.unsent = o.permanent || errors.As(err, &dial) && dial.Op == "dial"
	var proxy *proxyError
	var lookup *net.DNSError
	peer := t.peer()
	switch {
	case errors.As(err, &proxy):
		o.reason, o.status, o.unsent = proxy.Error(), proxy.status, true
		if proxy.status != 0 {
			o.permanent = statusMeans(proxy.status).client == raise
		}
	case refusesCertificate(err) != nil:
		o.reason = peer + " does not accept this client's certificate, or wants one: " + refusesCertificate(err).Error()
	case o.permanent:
		o.reason = err.Error()
	case bounded.Err() != nil:
		o.reason = "no answer from " + peer
		if ctx.Err() == nil {
			o.reason += " within " + inSeconds(bound)
		}
	case errors.Is(err, syscall.ECONNREFUSED):
		o.reason = "connection refused by " + peer
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		o.reason = "connection reset by " + peer
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		o.reason = "connection closed by " + peer
	case errors.As(err, &lookup):
		o.reason = lookup.Error()
	default:
		o.reason = err.Error()
	}
	if !strings.Contains(o.reason, peer) && o.status == 0 {
		o.reason += " (" + peer + ")"
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		o.cause = nil // a time-out of our own, which must not pass for the end of the caller's context
	}
	return o
}

// isPermanent tells of mistakes that no retry can mend. Nothing was sent then.
func isPermanent(err error) bool {
	var untrusted *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	var address *net.AddrError
	var invalid net.InvalidAddrError
	var alert *net.OpError
	const alertProtocolVersion = tls.AlertError(70)
	return errors.As(err, &untrusted) || errors.As(err, &plain) || errors.As(err, &address) || errors.As(err, &invalid) ||
		errors.As(err, &alert) && alert.Op == "remote error" && alert.Err.Error() == alertProtocolVersion.Error() ||
		strings.Contains(err.Error(), "tls: server selected unsupported protocol version") || refusesCertificate(err) != nil
}

// tunnel makes connections through a proxy, which is asked for a way to the server and sees nothing of what goes through it.
type tunnel struct {
	dialer *net.Dialer
	proxy  *url.URL
	trust  *tls.Config
}

// proxyError is the failure to get a tunnel. It does not show the proxy's user and password.
type proxyError struct {
	proxy  string
	status int // 0: no answer
	err    error
}

func (e *proxyError) Unwrap() error { return e.err }

func (e *proxyError) Error() string {
	switch e.status {
	case 0:
		return fmt.Sprintf("no tunnel through the proxy %s: %v", e.proxy, e.err)
	case http.StatusProxyAuthRequired:
		return fmt.Sprintf("the proxy %s answered 407: are the user and password in its URL right?", e.proxy)
	}
	return fmt.Sprintf("the proxy %s answered %d: may it be used to reach the server?", e.proxy, e.status)
}

func (t *tunnel) dial(ctx context.Context, network, server string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, t.dialer.Timeout)
	defer cancel()
	raw, err := t.dialer.DialContext(ctx, network, t.proxy.Host)
	if err != nil {
		return nil, &proxyError{proxy: t.proxy.Host, err: err}
	}
	connection := raw
	if t.proxy.Scheme == "https" {
		trust := t.trust.Clone()
		trust.ServerName = t.proxy.Hostname()
		connection = tls.Client(raw, trust)
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.SetDeadline(time.Unix(1, 0)) })
	status, err := t.connect(connection, server)
	if !stop() {
		err = ctx.Err()
	}
	if err == nil && status/100 == 2 {
		return connection, nil
	}
	_ = raw.Close()
	return nil, &proxyError{proxy: t.proxy.Host, status: status, err: err}
}

// connect asks for the way to the server.
func (t *tunnel) connect(connection net.Conn, server string) (status int, err error) {
	request := &http.Request{Method: http.MethodConnect, URL: &url.URL{Opaque: server}, Host: server, Header: http.Header{}}
	if user := t.proxy.User; user != nil {
		password, _ := user.Password()
		request.Header.Set("Proxy-Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(user.Username()+":"+password)))
	}
	if err := request.Write(connection); err != nil {
		return 0, err
	}
	// Nothing comes behind the answer before we have sent something: nothing is lost with the reader.
	response, err := http.ReadResponse(bufio.NewReader(io.LimitReader(connection, 1<<16)), request)
	if err != nil {
		return 0, err
	}
	return response.StatusCode, nil
}
