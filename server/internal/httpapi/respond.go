package httpapi

import (
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/lockserver/lockserver/server/internal/wire"
)

// headers are values that many answers share. They are never modified.
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

// buffer holds the body of a request while it is decoded, or of an answer. Large buffers are not reused.
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

// send writes an answer in one piece, with its length. If it returns an error, the client cannot have received the whole answer.
func (x *exchange) send(status int, contentType []string, body []byte) error {
	h := x.w.Header()
	h["Content-Type"] = contentType
	h["Content-Length"] = []string{strconv.Itoa(len(body))}
	h["Cache-Control"] = x.api.headers.noStore
	control := http.NewResponseController(x.w)
	if err := control.SetWriteDeadline(time.Now().Add(answerTimeout)); err != nil {
		return err
	}
	x.w.WriteHeader(status)
	if _, err := x.w.Write(body); err != nil {
		return err
	}
	return control.Flush()
}

// refuse sends a problem and returns its code. It does not matter if the client is gone by then.
func (x *exchange) refuse(p *wire.Problem) (outcome string) {
	buf := x.api.buffer()
	defer x.api.recycle(buf)
	buf.b = wire.AppendProblem(buf.b, p)
	_ = x.sendProblem(p, buf.b)
	return string(p.Code)
}

func (x *exchange) sendProblem(p *wire.Problem, body []byte) error {
	h := x.w.Header()
	if p.Code.RetryAfter() {
		h["Retry-After"] = x.api.headers.retryAfter
		if p.RetryAfter > 0 {
			h["Retry-After"] = []string{strconv.Itoa(int(math.Ceil(p.RetryAfter.Seconds())))}
		}
	}
	// On HTTP/2 an unread body affects only its own stream.
	unread := x.unread && x.r.ProtoMajor == 1
	if unread {
		h["Connection"] = x.api.headers.connectionClose
	}
	err := x.send(p.Code.Status(), x.api.headers.problem, body)
	if unread {
		x.linger()
	}
	return err
}

// linger discards what the client still sends, for a limited time and up to a limited size. Closing a connection with unread data
// resets it, and the client would lose an answer that it has not read yet.
func (x *exchange) linger() {
	const (
		most  = 256 << 10
		limit = time.Second
	)
	if err := http.NewResponseController(x.w).SetReadDeadline(time.Now().Add(limit)); err != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, x.r.Body, most)
}
