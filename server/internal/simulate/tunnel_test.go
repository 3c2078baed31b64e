package simulate_test

import (
	"bytes"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/gobwas/ws"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// tunnel is a connection with a session: what the server sees of it, and what the client knows.
type tunnel struct {
	net.Conn // nil: the session calls no others than these
	w        *world
	f        *front
	n        int
	line     *strand // reads
	up       []byte  // sent by the client, and not on the server yet
	in       []byte  // on the server, and not read yet
	out      []byte  // taken from the server, and not by the client yet
	partial  []byte  // of what was taken, the beginning of a frame
	until    [2]int64
	cut      bool // the client is gone, and the server can see it
	frozen   bool // it is gone, and nobody can see it
	closed   bool // by the server
	failed   bool // a write failed
	deaf     bool // the session takes no answers any more
	over     bool // the session has ended

	// What the session was asked for, and what it says.
	seq      int64
	order    uint64 // rises with all that happens to the session
	writes   uint64 // by when the last write began
	sent     []*request
	requests map[int64]*request // that have no answer yet, by seq
	queue    []*message         // that are to come, in this order
	bounds   []bound
	size     int // of all answers so far
	active   int
	held     map[int64]held // by token
	lost     map[int64]bool
	released map[int64]uint64 // what it has released itself, by t.order
	heard    uint64           // t.order when the last message was to be said
	groups   []*group
	drains   bool          // it was told that the server shuts down
	pings    int           // since the server has read a pong
	pongs    []int         // how many bytes the server has to read to see them
	closes   ws.StatusCode // the session has to end with it; 0: it goes on
	close    ws.StatusCode // it has ended with it
	given    []*request    // of which a ticket may be given back
	sink     lock.Sink     // where the session takes answers, if it is known
}

// held is a grant that a session was told of.
type held struct {
	leased bool
	since  uint64
}

var (
	errCut    = errors.New("the connection is cut")
	errClosed = net.ErrClosed
)

const (
	reading = iota
	writing
)

// Read waits for what the client sends.
func (t *tunnel) Read(b []byte) (int, error) {
	for {
		switch {
		case t.closed:
			return 0, errClosed
		case len(t.in) > 0:
			n := copy(b, t.in[:min(len(t.in), t.w.sessions.sip)])
			t.in = t.in[n:]
			for i := range t.pongs {
				t.pongs[i] -= n
			}
			for len(t.pongs) > 0 && t.pongs[0] <= 0 {
				t.pongs, t.pings = t.pongs[1:], 0
			}
			return n, nil
		case t.cut:
			return 0, io.EOF
		case t.late(reading):
			return 0, os.ErrDeadlineExceeded
		}
		t.f.host.Yield()
	}
}

// Write takes as much as there is room for until the client takes it.
func (t *tunnel) Write(b []byte) (int, error) {
	t.w.blame(t.until[writing] >= t.w.now+int64(writeTimeout), "session %d has no time to write", t.n)
	if bytes.HasSuffix(b, ws.CompiledPing) { // it counts from now on, even if the client takes nothing
		t.pings++
	}
	n := 0
	t.writes = t.order
	for n < len(b) {
		switch {
		case t.closed:
			return n, t.broken(errClosed)
		case t.cut:
			return n, t.broken(errCut)
		case len(t.out) < t.w.sessions.buffer:
			more := min(t.w.sessions.buffer-len(t.out), len(b)-n)
			t.out = append(t.out, b[n:n+more]...)
			t.partial = append(t.partial, b[n:n+more]...)
			n += more
			t.take()
		case t.late(writing):
			return n, t.broken(os.ErrDeadlineExceeded)
		default:
			t.f.host.Yield()
		}
	}
	t.deaf = t.deaf || t.close != 0
	return n, nil
}

func (t *tunnel) broken(err error) error {
	t.failed, t.deaf = true, true
	return err
}

func (t *tunnel) late(way int) bool { return t.until[way] != 0 && t.w.now >= t.until[way] }

func (t *tunnel) SetReadDeadline(at time.Time) error  { return t.within(reading, at) }
func (t *tunnel) SetWriteDeadline(at time.Time) error { return t.within(writing, at) }

func (t *tunnel) within(way int, at time.Time) error {
	t.until[way] = int64(at.Sub(t.f.host.boot))
	return nil
}

// Close is called by the reader at its end, by a writer that failed, and for a client that is dead.
func (t *tunnel) Close() error {
	dead := t.f.host.current == nil && !t.over && t.closes == 0 && !t.f.s.draining && !t.f.stands
	t.w.blame(!dead || t.cut || t.failed || t.pings >= 2, "session %d is closed as if it were dead, after %d pings", t.n, t.pings)
	t.closed, t.deaf = true, t.deaf || t.f.host.current != nil && t.f.host.current == t.line
	return nil
}

// take takes the frames that the server has written by now.
func (t *tunnel) take() {
	for {
		op, text, n := frame(t.partial)
		if n == 0 {
			return
		}
		if !t.over {
			t.order++
			switch op {
			case ws.OpText:
				t.hear(text)
			case ws.OpClose:
				t.closing(text)
			}
		}
		t.partial = t.partial[n:]
	}
}

// frame is the first frame of b, and its length, which is 0 if it has not come as a whole.
func frame(b []byte) (op ws.OpCode, text []byte, n int) {
	if len(b) < 2 {
		return 0, nil, 0
	}
	start, length := 2, int(b[1])
	switch {
	case length == 126 && len(b) >= 4:
		start, length = 4, int(b[2])<<8|int(b[3])
	case length == 127 && len(b) >= 10:
		start, length = 10, int(b[6])<<24|int(b[7])<<16|int(b[8])<<8|int(b[9])
	case length >= 126:
		return 0, nil, 0
	}
	if len(b) < start+length {
		return 0, nil, 0
	}
	return ws.OpCode(b[0] & 15), b[start : start+length], start + length
}

// say adds a frame of the client to what it sends. It is masked with zeros.
func (t *tunnel) say(op ws.OpCode, fin bool, text []byte) {
	first, masked := byte(op), byte(0x80)
	if fin {
		first |= 0x80
	}
	if n := len(text); n < 126 {
		t.up = append(t.up, first, masked|byte(n))
	} else {
		t.up = append(t.up, first, masked|126, byte(n>>8), byte(n))
	}
	t.up = append(append(t.up, 0, 0, 0, 0), text...)
}

// flow moves bytes both ways: at most so many to the server, and of what the server has written.
func (t *tunnel) flow(up, down int) {
	if t.cut || t.frozen {
		return
	}
	t.out = t.out[min(down, len(t.out)):]
	t.in = append(t.in, t.up[:up]...)
	t.up = t.up[up:]
	if t.close != 0 && len(t.out) == 0 {
		t.cut = true
	}
}

// pong has the client answer a ping, if it has got one.
func (t *tunnel) pong() {
	if t.pings > len(t.pongs) && len(t.out) == 0 && !t.cut && !t.frozen && t.closes == 0 {
		t.say(ws.OpPong, true, nil)
		t.pongs = append(t.pongs, len(t.in)+len(t.up))
	}
}
