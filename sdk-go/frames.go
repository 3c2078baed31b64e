package lockserver

import (
	"encoding/binary"
	"math/rand/v2"
	"runtime"
	"strconv"
	"time"

	"github.com/gobwas/ws"
)

const (
	fullMessage = figureSessionMessage / 4 // bytes; the largest request is far smaller than what is left
	headroom    = 15                       // for the header of a frame and a bracket
)

// message is a message to the server while it is filled.
type message struct {
	b    []byte // headroom, then the requests
	seqs []int64
}

// empty makes it a message without requests.
func (m *message) empty() { m.b, m.seqs = append(m.b[:0], make([]byte, headroom)...), m.seqs[:0] }

func (m *message) full() bool { return len(m.seqs) == figureSessionRequests || len(m.b) > fullMessage }

// add appends a request: seq and op before the members that it has over HTTP.
func (m *message) add(seq int64, a *attempt) error {
	start := len(m.b)
	if len(m.seqs) > 0 {
		m.b = append(m.b, ',')
	}
	m.b = append(m.b, `{"seq":`...)
	m.b = strconv.AppendInt(m.b, seq, 10)
	m.b = append(m.b, `,"op":"`...)
	m.b = append(m.b, a.op.name...)
	m.b = append(m.b, '"')
	object := len(m.b)
	b, err := appendRequest(m.b, a.request)
	if err != nil {
		m.b = m.b[:start]
		return err
	}
	if m.b = b; b[object+1] != '}' {
		m.b[object] = ',' // in place of the bracket
	} else {
		m.b[object] = '}'
		m.b = m.b[:object+1]
	}
	m.seqs = append(m.seqs, seq)
	return nil
}

// frame returns the message as a masked frame.
func (m *message) frame() []byte {
	start := headroom
	if len(m.seqs) > 1 {
		start--
		m.b[start] = '['
		m.b = append(m.b, ']')
	}
	payload := m.b[start:]
	var mask [4]byte
	binary.LittleEndian.PutUint32(mask[:], rand.Uint32())
	ws.Cipher(payload, mask, 0)
	start -= 4
	copy(m.b[start:], mask[:])
	const fin, masked = 0x80, 0x80
	switch n := len(payload); {
	case n < 126:
		start -= 2
		m.b[start+1] = masked | byte(n)
	case n < 1<<16:
		start -= 4
		m.b[start+1] = masked | 126
		binary.BigEndian.PutUint16(m.b[start+2:], uint16(n))
	default:
		start -= 10
		m.b[start+1] = masked | 127
		binary.BigEndian.PutUint64(m.b[start+2:], uint64(n))
	}
	m.b[start] = fin | byte(ws.OpText)
	return m.b[start:]
}

func pingFrame() []byte { return ws.MustCompileFrame(ws.MaskFrame(ws.NewPingFrame(nil))) }

// beWritten has what is queued written. No request waits for the writer: a connection that takes nothing holds up none whose context
// ends, nor do the requests of others. s.mu is held.
func (s *session) beWritten() {
	if !s.writing {
		s.writing, s.written = true, time.Now()
		go s.write(nil)
	}
}

// write writes until nothing is queued: first the rest of what its caller began. It lets others run before, who may have requests for
// the same message.
func (s *session) write(rest []byte) {
	if rest == nil {
		runtime.Gosched()
	}
	for {
		if rest == nil {
			if rest = s.next(); rest == nil {
				return
			}
		}
		if _, err := s.stream.Write(rest); err != nil {
			s.end(err)
		}
		rest = nil
	}
}

// writeFor writes what is queued from the goroutine of a request, as long as that waits for its answer and the connection takes what is
// written. A goroutine does the rest. A request that is alone need not let others run before.
func (s *session) writeFor(p *pending, alone bool) {
	if !alone {
		runtime.Gosched()
	}
	for {
		out := s.next()
		if out == nil {
			return
		}
		n, err := s.direct.write(out)
		if err != nil {
			s.end(err)
			continue
		}
		if rest := out[n:]; len(rest) > 0 {
			go s.write(rest)
			return
		}
		if len(p.answered) > 0 {
			go s.write(nil)
			return
		}
	}
}

// next returns what is to be written next, or nil if there is nothing: then its caller is the writer no longer.
func (s *session) next() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	if m := s.last; m != nil && s.spare == nil && cap(m.b) <= fullMessage {
		s.spare = m
	}
	s.last = nil
	out := s.control
	s.control = nil
	if out == nil && len(s.queue) > 0 {
		m := s.queue[0]
		s.queue[0] = nil
		s.queue = s.queue[1:]
		s.last = m
		out = m.frame()
	}
	if out == nil || s.ended != nil {
		s.writing = false
		return nil
	}
	s.written = time.Now()
	return out
}

// writeControl writes a control frame, now or between two messages.
func (s *session) writeControl(frame []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.control = append(s.control, frame...)
	s.beWritten()
}
