package httpapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
)

// decode reads and decodes the body of a request. The buffer that it took is free again when it returns, so that a request that
// waits holds no memory for it.
func (a *API) decode(w http.ResponseWriter, r *http.Request, allowed fieldSet) (fields, *problem) {
	if err := noQuery(r); err != nil {
		p := err.asProblem()
		p.unread = true
		return fields{}, p
	}
	buf := a.buffer()
	defer a.recycle(buf)
	if p := a.readBody(w, r, buf); p != nil {
		return fields{}, p
	}
	f, err := decodeBody(buf.b, allowed)
	if err != nil {
		return fields{}, err.asProblem()
	}
	return f, nil
}

func (a *API) readBody(w http.ResponseWriter, r *http.Request, buf *buffer) *problem {
	if r.ContentLength > int64(a.maxBody) {
		return a.tooLarge()
	}
	for {
		if len(buf.b) == cap(buf.b) {
			buf.b = append(buf.b, 0)[:len(buf.b)]
		}
		// One byte more than is allowed tells a body that is too long from one that just fits.
		room := min(cap(buf.b), a.maxBody+1)
		n, err := r.Body.Read(buf.b[len(buf.b):room])
		buf.b = buf.b[:len(buf.b)+n]
		if len(buf.b) > a.maxBody {
			return a.tooLarge()
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return a.unreadable(err)
		}
	}
	a.wholeRead(w)
	return nil
}

func (a *API) tooLarge() *problem {
	return &problem{code: codeTooLarge, detail: fmt.Sprintf("the body is too large; allowed: %d bytes", a.maxBody), unread: true}
}

func (a *API) unreadable(err error) *problem {
	why := "is not sent as HTTP wants it"
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		why = fmt.Sprintf("did not come in time, within %v of the headers", a.bodyTimeout)
	case errors.Is(err, io.ErrUnexpectedEOF):
		why = "ends before its announced length"
	}
	p := invalidBody(why).asProblem()
	p.unread = true
	return p
}
