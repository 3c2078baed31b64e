package httpapi

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/lockserver/lockserver/server/internal/wire"
)

// decode decodes the fields of the request. It gives back the buffer for the body before it returns, so that a waiting request does
// not hold one.
func (x *exchange) decode(f *wire.Fields) *wire.Problem {
	if p := f.DecodeQuery(x.op, x.r.URL.RawQuery); p != nil || !x.op.InBody() {
		return p
	}
	buf := x.api.buffer()
	defer x.api.recycle(buf)
	if p := x.readBody(buf); p != nil {
		return p
	}
	return f.DecodeBody(x.op, buf.b)
}

func (x *exchange) readBody(buf *buffer) *wire.Problem {
	most := x.api.cfg.MaxBody
	if x.r.ContentLength > int64(most) {
		return tooLarge(most)
	}
	for {
		if len(buf.b) == cap(buf.b) {
			buf.b = append(buf.b, 0)[:len(buf.b)]
		}
		// One byte more than allowed tells a body that is too long from one that just fits.
		room := min(cap(buf.b), most+1)
		n, err := x.r.Body.Read(buf.b[len(buf.b):room])
		buf.b = buf.b[:len(buf.b)+n]
		if len(buf.b) > most {
			return tooLarge(most)
		}
		if err == io.EOF {
			x.unread = false
			x.wholeRead()
			return nil
		}
		if err != nil {
			return x.unreadable(err)
		}
	}
}

// wholeRead lifts the read deadline once a request is read: otherwise a long wait would look like a client that went away.
// If that fails, the connection is gone and the answer will fail too.
func (x *exchange) wholeRead() {
	if err := http.NewResponseController(x.w).SetReadDeadline(time.Time{}); err != nil {
		x.api.log.Debug("connection lost", "error", err)
	}
}

func tooLarge(most int) *wire.Problem {
	return &wire.Problem{Code: wire.TooLarge, Detail: fmt.Sprintf("the body is too large; allowed: %d bytes", most)}
}

func (x *exchange) unreadable(err error) *wire.Problem {
	why := "is not sent as HTTP wants it"
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		why = fmt.Sprintf("did not come in time, within %v of the headers", x.api.cfg.BodyTimeout)
	case errors.Is(err, io.ErrUnexpectedEOF):
		why = "ends before its announced length"
	}
	return wire.InvalidBody(why)
}
