package lockserver

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"

	"github.com/gobwas/ws"

	"github.com/lockserver/lockserver/sdk-go/internal/fault"
)

// incoming reads frames. Where a read fails, all that came is kept, so that the next one goes on from there.
type incoming struct {
	in     *bufio.Reader
	head   []byte // for headers
	header ws.Header
	inside bool   // the header was read, and its payload perhaps not
	text   []byte // of the message so far
	left   []byte // the part of text that is still to come
}

func newIncoming(r io.Reader) incoming {
	return incoming{in: bufio.NewReaderSize(r, 16<<10), head: make([]byte, ws.MaxHeaderSize)}
}

// frame reads a frame, and returns the payload of a control frame, or a message with its last frame, or nil with another.
func (c *incoming) frame() (op ws.OpCode, payload []byte, err error) {
	if !c.inside {
		if err := c.begin(); err != nil {
			return 0, nil, err
		}
	}
	for len(c.left) > 0 {
		n, err := c.in.Read(c.left)
		if c.left = c.left[n:]; err != nil {
			return 0, nil, err
		}
	}
	c.inside = false
	if op = c.header.OpCode; op.IsControl() {
		start := len(c.text) - int(c.header.Length)
		payload = bytes.Clone(c.text[start:])
		c.text = c.text[:start]
		return op, payload, nil
	}
	if !c.header.Fin {
		return op, nil, nil
	}
	payload, c.text = c.text, nil // answers refer to it
	return op, payload, nil
}

// begin reads a header, and makes room for its payload.
func (c *incoming) begin() error {
	b, err := c.in.Peek(ws.MinHeaderSize)
	if err != nil {
		return err
	}
	length := ws.MinHeaderSize
	switch b[1] & 0x7f {
	case 126:
		length += 2
	case 127:
		length += 8
	}
	if _, err := c.in.Peek(length); err != nil { // so that all of it is there, or nothing is taken
		return err
	}
	h, err := ws.ReadHeaderBuffer(c.in, c.head)
	if err != nil {
		return err
	}
	if h.Masked || h.Length > figureSessionAnswers-int64(len(c.text)) {
		return errors.New("not a frame of a lockserver")
	}
	start := len(c.text)
	c.text = append(c.text, make([]byte, h.Length)...)
	c.header, c.inside, c.left = h, true, c.text[start:]
	return nil
}

// step takes a frame.
func (s *session) step() error {
	op, payload, err := s.incoming.frame()
	switch {
	case err != nil:
		return err
	case op == ws.OpPing:
		s.writeControl(ws.MustCompileFrame(ws.MaskFrame(ws.NewPongFrame(payload))))
	case op == ws.OpClose:
		_, reason := ws.ParseCloseFrameData(payload)
		return errors.New("the server ended the session: " + reason)
	case !op.IsControl() && payload != nil:
		return s.take(payload)
	}
	return nil
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
