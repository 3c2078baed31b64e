package events

import (
	"net/http"
	"strconv"
	"time"

	"github.com/lockserver/lockserver/server/internal/wire"
)

const (
	// A reader is written to this often at most, so that under load many events share one write. If there are many readers, each waits
	// longer, so that all together are written to 1,000 times a second.
	pause  = 20 * time.Millisecond
	pauses = time.Millisecond // for each reader
	// All readers together get so many bytes a second, each its share. Who wants more misses some.
	rate = 16 << 20
	// writeTimeout is how long a reader may take nothing.
	writeTimeout = 10 * time.Second
)

// Stream answers a request with the events that it asks for, until the client goes away or the server shuts down. The caller has checked
// the secret. If there is a problem, nothing has been written yet.
func (h *Hub) Stream(w http.ResponseWriter, req *http.Request, f *wire.Fields) *wire.Problem {
	want, p := f.EventQuery()
	if p != nil {
		return p
	}
	r, p := h.join(want, req.Header.Get("Last-Event-ID"))
	if p != nil {
		return p
	}
	defer r.leave()
	header := w.Header()
	header["Content-Type"] = []string{"text/event-stream"}
	header["Cache-Control"] = []string{"no-store"}
	header["X-Accel-Buffering"] = []string{"no"} // else nginx would collect events before it passes them on
	w.WriteHeader(http.StatusOK)
	if req.Method != http.MethodHead {
		s := &stream{reader: r, w: w, control: http.NewResponseController(w), gone: req.Context().Done()}
		s.run()
	}
	return nil
}

// stream writes the events of a reader to its client.
type stream struct {
	*reader
	w       http.ResponseWriter
	control *http.ResponseController
	gone    <-chan struct{}
	b       []byte
	ending  bool // the server shuts down
}

// run writes until the client is gone or the server ends.
func (s *stream) run() {
	beat := time.NewTicker(s.hub.cfg.Heartbeat)
	defer beat.Stop()
	rest := time.NewTimer(0)
	defer rest.Stop()
	s.b = appendPosition(s.b, s.next-1)
	for {
		var news <-chan struct{}
		pause, most := s.hub.pace()
		s.b, news = s.read(s.b, most)
		if news != nil && s.ending {
			s.b = append(s.b, "event: draining\ndata: {\"kind\":\"draining\"}\n\n"...)
		}
		if !s.write() || news != nil && s.ending {
			return
		}
		if s.ending {
			continue
		}
		rest.Reset(pause)
		select {
		case <-rest.C:
		case <-s.ended:
		case <-s.gone:
			return
		}
		if news == nil {
			continue
		}
		select {
		case <-news:
		case <-beat.C:
			s.b = appendPosition(s.b, s.next-1)
		case <-s.ended:
			s.ending = true
		case <-s.gone:
			return
		}
	}
}

// write writes what there is. It returns false if the client does not take it.
func (s *stream) write() bool {
	if len(s.b) == 0 {
		return true
	}
	if s.control.SetWriteDeadline(time.Now().Add(writeTimeout)) != nil {
		return false
	}
	if _, err := s.w.Write(s.b); err != nil || s.control.Flush() != nil {
		return false
	}
	s.b = s.b[:0]
	return true
}

// pace is how long a reader pauses, and how many bytes it may get in between.
func (h *Hub) pace() (time.Duration, int) {
	readers := max(1, h.Readers())
	d := max(pause, time.Duration(readers)*pauses)
	return d, int(rate*d.Seconds()) / readers
}

// appendEvent appends an event as a stream has it. JSON has no line feed in it.
func appendEvent(b []byte, e *wire.Event) []byte {
	b = appendID(b, e.Number)
	b = append(append(b, "event: "...), e.Kind.String()...)
	b = wire.AppendEvent(append(b, "\ndata: "...), e)
	return append(b, "\n\n"...)
}

// appendGap appends what tells a reader that it has missed events up to that number.
func appendGap(b []byte, number, missed int64) []byte {
	b = append(appendID(b, number), "event: gap\ndata: "...)
	return append(wire.AppendGap(b, missed), "\n\n"...)
}

// appendPosition appends what tells a client how far it has come although there was no event for it: a reader that comes back goes on
// there. A client takes the id of a block without data, and shows nobody an event.
func appendPosition(b []byte, number int64) []byte {
	return append(appendID(append(b, ":\n"...), number), '\n')
}

func appendID(b []byte, number int64) []byte {
	return append(strconv.AppendInt(append(b, "id: "...), number, 10), '\n')
}
