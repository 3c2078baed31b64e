package lockserver

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"time"
)

// lineMax is the longest line of a stream of events, and the largest error in place of one.
const lineMax = 1 << 20

// follower takes the server-sent events of an answer that goes on.
type follower struct {
	silence time.Duration // within which something must come
	last    string        // the id of the last event; "" at first
	begun   func()        // the answer is a stream of events
	take    func(kind string, data []byte) error
}

// follow takes a stream until it breaks. What bounds it is that something comes again and again.
func (t *httpTransport) follow(ctx context.Context, a attempt) outcome {
	alive, cancel := context.WithCancel(ctx)
	defer cancel()
	if a.life != nil {
		defer context.AfterFunc(a.life, cancel)()
	}
	bound := min(a.bound, a.limit)
	silence := time.AfterFunc(bound, cancel)
	defer silence.Stop()
	request, err := t.request(alive, a)
	if err != nil {
		return outcome{reason: err.Error(), cause: err, unsent: true, permanent: true}
	}
	request.Header = request.Header.Clone()
	request.Header.Set("Accept", "text/event-stream")
	if a.follow.last != "" {
		request.Header.Set("Last-Event-ID", a.follow.last)
	}
	response, err := t.single.RoundTrip(request)
	if err != nil {
		return t.failure(ctx, alive, bound, err)
	}
	defer response.Body.Close()
	kind, _, _ := mime.ParseMediaType(response.Header.Get("Content-Type")) // one that cannot be parsed is another
	if response.StatusCode != http.StatusOK || kind != "text/event-stream" {
		body, err := readAnswer(response, a.op.answerMax)
		if err != nil {
			return t.failure(ctx, alive, bound, err)
		}
		return outcome{answer: answer{response.StatusCode, body, retryAfter(response.Header.Get("Retry-After")), t.peer()}}
	}
	silence.Stop()
	a.follow.begun()
	err = a.follow.read(&timedReader{response.Body, silence, a.follow.silence})
	var o outcome
	switch {
	case errors.Is(err, errUnusable):
		o = outcome{reason: t.peer() + " sent " + err.Error(), cause: err, permanent: true}
	case errors.Is(err, errLeft):
		o = outcome{reason: err.Error(), cause: err, permanent: true}
	case err == nil:
		o = outcome{reason: "the stream of events was closed by " + t.peer()}
	default:
		o = t.failure(ctx, alive, a.follow.silence, err)
	}
	o.heard = time.Now()
	return o
}

// timedReader lets a timer run while it waits for bytes.
type timedReader struct {
	io.Reader
	timer *time.Timer
	most  time.Duration
}

func (r *timedReader) Read(p []byte) (int, error) {
	r.timer.Reset(r.most)
	defer r.timer.Stop()
	return r.Reader.Read(p)
}

var (
	errUnusable = errors.New("what is no event")
	errLeft     = errors.New("the loop was left")
)

// read takes events (WHATWG HTML, section 9.2) until the stream ends, breaks, or take returns an error.
func (f *follower) read(stream io.Reader) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, lineMax)
	id, kind, data := f.last, "", []byte(nil)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 {
			f.last = id
			if data != nil {
				if err := f.take(kind, data); err != nil {
					return err
				}
			}
			kind, data = "", nil
			continue
		}
		name, value, _ := bytes.Cut(lines.Bytes(), []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "id":
			id = string(value)
		case "event":
			kind = string(value)
		case "data":
			if data != nil {
				data = append(data, '\n')
			}
			data = append(data, value...)
		}
	}
	if errors.Is(lines.Err(), bufio.ErrTooLong) {
		return fmt.Errorf("%w: a line of more than %s bytes", errUnusable, strconv.Itoa(lineMax))
	}
	return lines.Err()
}
