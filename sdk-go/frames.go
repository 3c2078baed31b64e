package lockserver

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"strconv"
	"time"

	"github.com/gobwas/ws"

	"github.com/lockserver/lockserver/sdk-go/internal/fault"
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

// read passes on what comes until the session ends.
func (s *session) read() {
	head := make([]byte, ws.MaxHeaderSize)
	var text []byte
	for {
		h, err := ws.ReadHeaderBuffer(s.in, head)
		if err == nil && (h.Masked || h.Length > figureSessionAnswers-int64(len(text))) {
			err = errors.New("not a frame of a lockserver")
		}
		if err != nil {
			s.end(err)
			return
		}
		start := len(text)
		text = append(text, make([]byte, h.Length)...)
		if _, err := io.ReadFull(s.in, text[start:]); err != nil {
			s.end(err)
			return
		}
		switch {
		case h.OpCode.IsControl():
			payload := bytes.Clone(text[start:])
			text = text[:start]
			if h.OpCode == ws.OpPing {
				s.writeControl(ws.MustCompileFrame(ws.MaskFrame(ws.NewPongFrame(payload))))
			}
			if h.OpCode == ws.OpClose {
				_, reason := ws.ParseCloseFrameData(payload)
				s.end(errors.New("the server ended the session: " + reason))
				return
			}
		case h.Fin:
			if err := s.take(text); err != nil {
				s.end(err)
				return
			}
			text = nil // answers refer to it
		}
	}
}

// head is what tells what an object from the server is.
type head struct {
	Seq      int64  `json:"seq"`
	Status   int    `json:"status"`
	Event    string `json:"event"`
	Resource string `json:"resource"`
	Token    int64  `json:"token"`
	Reason   string `json:"reason"`
}

// take passes on the objects of a message.
func (s *session) take(text []byte) error {
	err := s.objects(text)
	s.deliver(s.got)
	clear(s.got)
	s.got = s.got[:0]
	return err
}

func (s *session) objects(text []byte) error {
	if len(text) > 0 && text[0] != '[' {
		return s.object(text)
	}
	for len(text) > 1 && text[0] != ']' {
		text = text[1:] // the bracket, or a comma
		n := objectLength(text)
		if n == 0 {
			return errors.New("a message is not an array of objects")
		}
		if err := s.object(text[:n]); err != nil {
			return err
		}
		text = text[n:]
	}
	return nil
}

// object takes an answer or an event.
func (s *session) object(text []byte) error {
	seq, status := quickHead(text)
	if seq == 0 {
		var h head
		if err := decode(text, &h); err != nil {
			return err
		}
		if h.Event == "lost" && !fault.LossesIgnored {
			go s.t.lost(h.Resource, h.Token, h.Reason)
		}
		if h.Event != "" {
			return nil
		}
		seq, status = h.Seq, h.Status
	}
	s.got = append(s.got, answered{seq, answer{status: status, body: text, peer: s.over.peer()}})
	return nil
}

// quickHead reads seq and status if they come first and in this order, as servers send them; else it returns 0.
func quickHead(text []byte) (seq int64, status int) {
	rest, ok := bytes.CutPrefix(text, []byte(`{"seq":`))
	if !ok {
		return 0, 0
	}
	digits, rest, _ := bytes.Cut(rest, []byte(`,"status":`))
	seq, err := strconv.ParseInt(string(digits), 10, 64)
	if err != nil || len(rest) < 4 || rest[3] != ',' {
		return 0, 0
	}
	if status, err = strconv.Atoi(string(rest[:3])); err != nil {
		return 0, 0
	}
	return seq, status
}

// objectLength returns the length of the JSON object that text begins with, or 0. It looks at brackets and strings alone: what it
// cuts out is decoded later.
func objectLength(text []byte) int {
	if n := plainLength(text); n > 0 {
		return n
	}
	return nestedLength(text)
}

func nestedLength(text []byte) int {
	depth, inString := 0, false
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case inString:
			if c == '\\' {
				i++
			}
			inString = c != '"'
		case c == '"':
			inString = true
		case c == '{' || c == '[':
			depth++
		case c == '}' || c == ']':
			if depth--; depth == 0 {
				return i + 1
			}
		}
		if depth == 0 {
			return 0
		}
	}
	return 0
}

// plainLength is objectLength for an object that has no other in it, no array, and no escape in a string; else 0.
func plainLength(text []byte) int {
	n := bytes.IndexByte(text, '}') + 1
	if n == 0 || text[0] != '{' {
		return 0
	}
	inside := text[1:n]
	if bytes.IndexByte(inside, '{') >= 0 || bytes.IndexByte(inside, '[') >= 0 || bytes.IndexByte(inside, '\\') >= 0 || bytes.Count(inside, []byte{'"'})%2 != 0 {
		return 0
	}
	return n
}
