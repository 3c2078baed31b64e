package session

import (
	"encoding/binary"
	"time"

	"github.com/gobwas/ws"

	"github.com/lockserver/lockserver/server/internal/wire"
)

const (
	headroom  = 11 // for the header of a frame and a bracket
	frameSize = 1 << 10
	keptFrame = 16 << 10
)

// frame is a message to the client while it is filled: JSON objects, and which calls they answer.
type frame struct {
	b      []byte // headroom, then the objects
	count  int
	calls  []uint32
	counts []count
}

// count is what is still to be told to the metrics, which take longer than the engine's mutex may be held.
type count struct {
	op      wire.Operation
	outcome string
	took    time.Duration
}

func newFrame() *frame { return &frame{b: make([]byte, headroom, frameSize)} }

func (f *frame) reset() {
	f.b, f.count, f.calls, f.counts = f.b[:headroom], 0, f.calls[:0], f.counts[:0]
}

// full reports whether another object must go into another frame.
func (f *frame) full() bool {
	return f.count == wire.SessionRequests || len(f.b) > wire.SessionMessage/2
}

// add appends an object.
func (f *frame) add(object func([]byte) []byte) {
	if f.count > 0 {
		f.b = append(f.b, ',')
	}
	f.b = object(f.b)
	f.count++
}

// bytes returns the whole frame, header and brackets included.
func (f *frame) bytes() []byte {
	start := headroom
	if f.count > 1 {
		start--
		f.b[start] = '['
		f.b = append(f.b, ']')
	}
	n := len(f.b) - start
	const fin, text = 0x80, byte(ws.OpText)
	switch {
	case n < 126:
		start -= 2
		f.b[start+1] = byte(n)
	case n < 1<<16:
		start -= 4
		f.b[start+1] = 126
		binary.BigEndian.PutUint16(f.b[start+2:], uint16(n))
	default:
		start -= 10
		f.b[start+1] = 127
		binary.BigEndian.PutUint64(f.b[start+2:], uint64(n))
	}
	f.b[start] = fin | text
	return f.b[start:]
}
