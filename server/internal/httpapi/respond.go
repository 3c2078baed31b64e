package httpapi

import (
	"io"
	"net/http"
	"runtime/debug"
	"strconv"
	"time"
)

// headers are the values that many answers share. They are never changed.
type headers struct {
	server, json, yaml, problem, authenticate, retryAfter, connectionClose, noStore []string
}

func newHeaders(version string) headers {
	return headers{
		server:          []string{"lockserver/" + version},
		json:            []string{"application/json"},
		yaml:            []string{"application/yaml"},
		problem:         []string{"application/problem+json"},
		authenticate:    []string{`Bearer realm="lockserver"`},
		retryAfter:      []string{"1"},
		connectionClose: []string{"close"},
		noStore:         []string{"no-store"},
	}
}

// buffer holds the body of a request while it is decoded, or that of an answer. Large ones are not kept.
type buffer struct{ b []byte }

const (
	newBufferSize = 1 << 10
	maxBufferKept = 16 << 10
)

func newBuffer() *buffer { return &buffer{b: make([]byte, 0, newBufferSize)} }

func (a *API) buffer() *buffer {
	buf := a.buffers.Get().(*buffer)
	buf.b = buf.b[:0]
	return buf
}

func (a *API) recycle(buf *buffer) {
	if cap(buf.b) <= maxBufferKept {
		a.buffers.Put(buf)
	}
}

// send writes an answer, in one piece and with its length, so that an error means that the client cannot have got it whole.
func (a *API) send(w http.ResponseWriter, status int, contentType []string, body []byte) error {
	h := w.Header()
	h["Content-Type"] = contentType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	h["Cache-Control"] = a.headers.noStore
	control := http.NewResponseController(w)
	if err := control.SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	w.WriteHeader(status)
	if _, err := w.Write(body); err != nil {
		return err
	}
	return control.Flush()
}

// answer sends what encode appends.
func (a *API) answer(w http.ResponseWriter, status int, encode func(b []byte) []byte) error {
	buf := a.buffer()
	defer a.recycle(buf)
	buf.b = encode(buf.b)
	return a.send(w, status, a.headers.json, buf.b)
}

// refuse sends a problem. That nobody may be there to read it any more is no matter.
func (a *API) refuse(w http.ResponseWriter, r *http.Request, p *problem) {
	_ = a.trySend(w, r, p)
}

func (a *API) trySend(w http.ResponseWriter, r *http.Request, p *problem) error {
	status, retryAfter := p.code.row()
	h := w.Header()
	if retryAfter {
		h["Retry-After"] = a.headers.retryAfter
	}
	if p.allow != "" {
		h["Allow"] = []string{p.allow}
	}
	if p.code == codeUnauthorized {
		h["Www-Authenticate"] = a.headers.authenticate
	}
	// On HTTP/2 an unread body harms nobody but its own stream.
	unread := p.unread && r.ProtoMajor == 1
	if unread {
		h["Connection"] = a.headers.connectionClose
	}
	buf := a.buffer()
	defer a.recycle(buf)
	buf.b = appendProblem(buf.b, p)
	err := a.send(w, status, a.headers.problem, buf.b)
	if unread {
		linger(w, r)
	}
	return err
}

// linger throws away, for a moment and up to a bound, what the client still sends. A connection that is closed upon unread data is
// reset, and the answer that the client has not read yet is lost with it.
func linger(w http.ResponseWriter, r *http.Request) {
	const (
		most  = 256 << 10
		limit = time.Second
	)
	if err := http.NewResponseController(w).SetReadDeadline(time.Now().Add(limit)); err != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, r.Body, most)
}

func stack() string { return string(debug.Stack()) }
