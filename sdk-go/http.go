package lockserver

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"sync/atomic"
	"time"
)

const (
	secretHeader  = "X-LOCKSERVER-SECRET"
	maxAnswerSize = 16 << 20
)

type endpoint struct {
	method string
	url    url.URL
}

// httpTransport speaks HTTP/1.1: a call that waits has a connection to itself, so that it never stands in the way of a release, and a
// retry can be sure of a new one.
type httpTransport struct {
	endpoints [operations]endpoint
	header    http.Header // of every request
	foreign   bool        // the program brought the RoundTripper, which may not know that it must leave headers alone
	pool      http.RoundTripper
	single    http.RoundTripper // makes a connection for each request
	closed    atomic.Bool
}

func newHTTPTransport(base *url.URL, s *settings) *httpTransport {
	t := &httpTransport{header: http.Header{
		http.CanonicalHeaderKey(secretHeader): {s.secret},
		"Content-Type":                        {"application/json"},
		"User-Agent":                          {"lockserver-go"},
	}}
	for op, e := range map[operation]struct{ method, path string }{
		opAcquire:      {http.MethodPost, "/acquire"},
		opRelease:      {http.MethodPost, "/release"},
		opRenew:        {http.MethodPost, "/renew"},
		opList:         {http.MethodGet, "/locks"},
		opShow:         {http.MethodGet, "/lock"},
		opForceRelease: {http.MethodDelete, "/lock"},
	} {
		u := *base
		u.Path += e.path
		t.endpoints[op] = endpoint{e.method, u}
	}

	t.pool = defaultPool(s)
	if s.httpClient != nil {
		t.pool, t.foreign = s.httpClient.Transport, true
		if t.pool == nil {
			t.pool = http.DefaultTransport
		}
	}
	t.single = flushing{t.pool}
	if pool, ok := t.pool.(*http.Transport); ok {
		single := pool.Clone()
		single.DisableKeepAlives = true
		t.single = single
	}
	return t
}

func defaultPool(s *settings) *http.Transport {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	pool := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: s.tuning.ConnectTimeout}).DialContext,
		TLSHandshakeTimeout: s.tuning.ConnectTimeout,
		MaxIdleConnsPerHost: 1024,
		IdleConnTimeout:     30 * time.Second,
		Protocols:           protocols,
		DisableCompression:  true, // answers are small
	}
	if s.rootCAs != nil {
		pool.TLSClientConfig = &tls.Config{RootCAs: s.rootCAs, MinVersion: tls.VersionTLS12}
	}
	return pool
}

// flushing stands in for single where a program brought a RoundTripper of its own: it drops what is idle before a request.
type flushing struct{ http.RoundTripper }

func (f flushing) RoundTrip(r *http.Request) (*http.Response, error) {
	(&http.Client{Transport: f.RoundTripper}).CloseIdleConnections()
	return f.RoundTripper.RoundTrip(r)
}

func (t *httpTransport) close() {
	t.closed.Store(true)
	for _, rt := range []http.RoundTripper{t.pool, t.single} {
		if rt != http.DefaultTransport {
			(&http.Client{Transport: rt}).CloseIdleConnections()
		}
	}
}

func (t *httpTransport) do(ctx context.Context, c call, out any) (answer, error) {
	e := &t.endpoints[c.op]
	request := (&http.Request{
		Method: e.method, URL: &e.url, Host: e.url.Host, Header: t.header, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
	}).WithContext(ctx)
	if c.query != nil {
		target := e.url
		target.RawQuery = c.query.Encode()
		request.URL = &target
	}
	if t.foreign {
		request.Header, request.URL = t.header.Clone(), cloneURL(request.URL)
	}
	if c.body != nil {
		body, err := json.Marshal(c.body)
		if err != nil {
			return answered, &Error{Code: ErrInvalidRequest, cause: err, unsent: true}
		}
		request.ContentLength = int64(len(body))
		request.Body = io.NopCloser(bytes.NewReader(body))
		request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	}

	route := t.pool
	if c.fresh || t.closed.Load() {
		route = t.single
	}
	response, err := route.RoundTrip(request)
	if err != nil {
		return answered, connectionFailed(err)
	}
	defer response.Body.Close() //nolint:errcheck // read to its end below, or the connection is of no more use
	body, err := readAnswer(response)
	if err != nil {
		return answered, connectionFailed(err)
	}
	return judge(response, body, out)
}

func cloneURL(u *url.URL) *url.URL {
	clone := *u
	return &clone
}

// readAnswer reads an answer to its end, without which its connection could not be used again.
func readAnswer(response *http.Response) ([]byte, error) {
	if n := response.ContentLength; n >= 0 && n <= maxAnswerSize {
		body := make([]byte, n)
		_, err := io.ReadFull(response.Body, body)
		return body, err
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, maxAnswerSize+1))
	if err == nil && len(body) > maxAnswerSize {
		err = fmt.Errorf("the answer is longer than %d bytes", maxAnswerSize)
	}
	return body, err
}

// judge turns an answer into out or an error: by its code, and by its status only where it has none, as a proxy's.
func judge(response *http.Response, body []byte, out any) (answer, error) {
	status := response.StatusCode
	if status == http.StatusOK || status == http.StatusAccepted {
		if err := json.Unmarshal(body, out); err != nil {
			return answered, &Error{Code: ErrConnectionFailed, Status: status, Message: "what answered is no Lockserver", cause: err}
		}
		if status == http.StatusAccepted {
			return queued, nil
		}
		return answered, nil
	}

	var problem wireProblem
	if json.Unmarshal(body, &problem) != nil {
		problem = wireProblem{}
	}
	failure := &Error{
		Code: problem.Code, Message: problem.Detail, Field: problem.Field, Reason: problem.Reason,
		Status: status, RetryAfter: retryAfter(response.Header.Get("Retry-After")),
	}
	if failure.Code == "" {
		failure.Code = codeOf(status)
		failure.Message = "answered " + strconv.Itoa(status) + " " + http.StatusText(status) + " without a code"
	} else if failure.Message == "" {
		failure.Message = problem.Title
	}
	if failure.Code == ErrLocked {
		return answered, &LockedError{
			Holders: holders(problem.Holders), HoldersTotal: problem.HoldersTotal, Waiters: problem.Waiters, err: failure,
		}
	}
	return answered, failure
}

// codeOf guesses the code of an answer that has none.
func codeOf(status int) Code {
	switch status {
	case http.StatusBadRequest:
		return ErrInvalidRequest
	case http.StatusUnauthorized:
		return ErrUnauthorized
	case http.StatusRequestEntityTooLarge:
		return ErrTooLarge
	case http.StatusInternalServerError:
		return ErrInternal
	}
	return ErrConnectionFailed
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

func connectionFailed(err error) *Error {
	failure := &Error{Code: ErrConnectionFailed, cause: err}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled) {
		// A time-out of our own, which must not pass for the end of the caller's context.
		failure.Message, failure.cause = err.Error(), nil
	}
	var network *net.OpError
	var untrusted *tls.CertificateVerificationError
	var plain tls.RecordHeaderError
	switch {
	case errors.As(err, &network) && network.Op == "dial":
		failure.unsent = true
	case errors.As(err, &untrusted), errors.As(err, &plain):
		failure.unsent, failure.definitive = true, true
	}
	return failure
}
