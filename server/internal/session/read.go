package session

import (
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/gobwas/ws"

	"github.com/lockserver/lockserver/server/internal/wire"
)

const (
	maxReason  = ws.MaxControlFramePayloadSize - 2
	lingerTime = time.Second
	keptInput  = 64 << 10
)

// closeError ends a session, and is told to the client.
type closeError struct {
	code   ws.StatusCode
	reason string
}

func (e *closeError) Error() string { return e.reason }

// message reads the next message into a buffer of the server's. It returns nil for none, after a control frame between messages.
func (x *session) message() (*[]byte, error) {
	state := ws.StateServerSide
	var b *[]byte
	for {
		h, err := x.header(state)
		if err != nil {
			return nil, err
		}
		if h.OpCode.IsControl() {
			if err := x.control(h); err != nil || !state.Fragmented() {
				return nil, err
			}
			continue
		}
		if h.OpCode == ws.OpBinary {
			return nil, &closeError{ws.StatusUnsupportedData, "a message is binary; allowed: text"}
		}
		if b == nil {
			b = x.server.inputs.Get().(*[]byte)
			*b = (*b)[:0]
		}
		start := len(*b)
		if h.Length > int64(wire.SessionMessage-start) {
			return nil, &closeError{ws.StatusMessageTooBig, fmt.Sprintf("a message is too large; allowed: %d bytes", wire.SessionMessage)}
		}
		if *b, err = x.payload(*b, int(h.Length)); err != nil {
			return nil, err
		}
		ws.Cipher((*b)[start:], h.Mask, 0)
		if h.Fin {
			return b, nil
		}
		state = state.Set(ws.StateFragmented)
	}
}

// header reads and checks the header of a frame.
func (x *session) header(state ws.State) (ws.Header, error) {
	h, err := ws.ReadHeaderBuffer(x.in, x.head)
	switch {
	case errors.Is(err, ws.ErrHeaderLengthUnexpected), errors.Is(err, ws.ErrHeaderLengthMSB):
		return h, &closeError{ws.StatusProtocolError, err.Error()}
	case err != nil:
		return h, err
	}
	if err := ws.CheckHeader(h, state); err != nil {
		return h, &closeError{ws.StatusProtocolError, err.Error()}
	}
	return h, nil
}

// payload appends the payload of a frame to b. It grows only as bytes come, as the length is what the client claims.
func (x *session) payload(b []byte, length int) ([]byte, error) {
	for length > 0 {
		n := min(length, max(cap(b)-len(b), readBuffer))
		start := len(b)
		b = append(b, make([]byte, n)...)
		if _, err := io.ReadFull(x.in, b[start:]); err != nil {
			return nil, err
		}
		length -= n
	}
	return b, nil
}

// control handles a control frame. It returns the error that ends the session if that is what the frame asks for.
func (x *session) control(h ws.Header) error {
	var buf [ws.MaxControlFramePayloadSize]byte
	b := buf[:h.Length]
	if _, err := io.ReadFull(x.in, b); err != nil {
		return err
	}
	ws.Cipher(b, h.Mask, 0)
	x.mu.Lock()
	x.pings = 0
	if h.OpCode == ws.OpPing { // the answer to the latest is enough (RFC 6455, 5.5.3)
		x.pong = ws.MustCompileFrame(ws.NewPongFrame(b))
		x.wake()
	}
	x.mu.Unlock()
	if h.OpCode == ws.OpClose {
		code, _ := ws.ParseCloseFrameData(b)
		if code.Empty() || code.IsNotUsed() {
			code = ws.StatusNormalClosure
		}
		return &closeError{code, ""}
	}
	return nil
}

// linger discards for a moment what the client still sends. A connection that is closed with unread data is reset, and the client
// would lose the close frame.
func (x *session) linger() {
	if err := x.conn.SetReadDeadline(x.server.host.Now().Add(lingerTime)); err != nil {
		return
	}
	_, _ = io.CopyN(io.Discard, x.in, wire.SessionMessage)
}
