package bench_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"testing"
	"time"
)

// session speaks frames over one connection. It has no goroutine for a flow: each answer is followed by the next request of its flow,
// and all that follow from one message leave as one array.
type session struct {
	conn   net.Conn
	reader *bufio.Reader
	out    []byte // room for a header, then the objects
	count  int    // of the objects
	text   []byte
	err    error // of a message that had to leave as it was full
}

const (
	header = 14   // of the longest frame: opcode, length, mask
	most   = 1024 // objects in a message
)

func (p *process) session(b *testing.B) *session {
	b.Helper()
	conn, err := net.DialTimeout("tcp", p.addr, patience)
	must(b, err)
	b.Cleanup(func() { _ = conn.Close() })
	_, err = fmt.Fprintf(conn, "GET /session HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-LOCKSERVER-SECRET: %s\r\n"+
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: lockserver.v1\r\n\r\n", secret)
	must(b, err)
	s := &session{conn: conn, reader: bufio.NewReaderSize(conn, 64<<10), out: make([]byte, header)}
	resp, err := http.ReadResponse(s.reader, nil)
	must(b, err)
	must(b, resp.Body.Close())
	if resp.StatusCode != http.StatusSwitchingProtocols {
		b.Fatal("no session: ", resp.Status)
	}
	return s
}

// add begins an object of the next message, whose rest the caller appends.
func (s *session) add(op string, seq int) {
	if s.count == most {
		s.err = s.flush()
	}
	if s.count == 0 {
		s.out = append(s.out, '[')
	} else {
		s.out = append(s.out, ',')
	}
	s.count++
	s.out = strconv.AppendInt(append(s.out, `{"seq":`...), int64(seq), 10)
	s.out = append(append(append(s.out, `,"op":"`...), op...), '"')
}

// flush sends what was added, masked with zeros.
func (s *session) flush() error {
	if s.count == 0 || s.err != nil {
		return s.err
	}
	s.out = append(s.out, ']')
	const whole, masked, mask = 0x81, 0x80, 4
	n := len(s.out) - header
	start := header - mask - 2
	length := n
	if n >= 126 {
		start -= 2
		length = 126
		binary.BigEndian.PutUint16(s.out[header-mask-2:], uint16(n))
	}
	if n >= 1<<16 {
		start -= 6
		length = 127
		binary.BigEndian.PutUint64(s.out[header-mask-8:], uint64(n))
	}
	s.out[start], s.out[start+1] = whole, byte(masked|length)
	_, err := s.conn.Write(s.out[start:])
	s.out, s.count = s.out[:header], 0
	return err
}

// read takes the seq of each answer in the next message. All must be 200.
func (s *session) read(take func(seq int)) error {
	if err := s.conn.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return err
	}
	var h [10]byte
	if _, err := io.ReadFull(s.reader, h[:2]); err != nil {
		return err
	}
	const closing, ping = 8, 9
	opcode, n := h[0]&0xf, int(h[1])
	switch n {
	case 126:
		if _, err := io.ReadFull(s.reader, h[:2]); err != nil {
			return err
		}
		n = int(binary.BigEndian.Uint16(h[:2]))
	case 127:
		if _, err := io.ReadFull(s.reader, h[:8]); err != nil {
			return err
		}
		n = int(binary.BigEndian.Uint64(h[:8]))
	}
	if cap(s.text) < n {
		s.text = make([]byte, 2*n)
	}
	rest := s.text[:n]
	if _, err := io.ReadFull(s.reader, rest); err != nil {
		return err
	}
	switch opcode {
	case ping:
		_, err := s.conn.Write([]byte{0x8a, 0x80, 0, 0, 0, 0}) // a pong that is masked with zeros
		return err
	case closing:
		return fmt.Errorf("the server ended the session: %s", rest[2:])
	}
	for {
		_, after, found := bytes.Cut(rest, []byte(`{"seq":`))
		if !found {
			return nil
		}
		seq := 0
		for after[0] != ',' {
			seq = seq*10 + int(after[0]-'0')
			after = after[1:]
		}
		if !bytes.HasPrefix(after, []byte(`,"status":200`)) {
			return fmt.Errorf("not 200: %s", after)
		}
		take(seq)
		rest = after
	}
}

// pairs runs flows of acquires and releases, each of a resource of its own, and returns how many pairs there were. A flow's seq is its
// number.
func (s *session) pairs(next *atomic.Int64, flows int, ended func() bool) (done int, err error) {
	held := make([]bool, flows+1)
	turn := make([]int64, flows+1)
	name := func(seq int) {
		s.out = strconv.AppendInt(append(s.out, `,"resource":"jobs/`...), turn[seq], 10)
		s.out = strconv.AppendInt(append(s.out, '-'), int64(seq), 10)
		s.out = strconv.AppendInt(append(s.out, `","owner":"worker-`...), int64(seq), 10)
		s.out = strconv.AppendInt(append(s.out, `","id":"request-`...), turn[seq], 10)
		s.out = append(s.out, '"')
	}
	acquire := func(seq int) {
		turn[seq] = next.Add(1)
		s.add("acquire", seq)
		name(seq)
		s.out = append(s.out, `,"expire":30}`...)
	}
	for seq := 1; seq <= flows; seq++ {
		acquire(seq)
	}
	going := flows
	for going > 0 {
		if err := s.flush(); err != nil {
			return done, err
		}
		over := ended()
		err := s.read(func(seq int) {
			if held[seq] = !held[seq]; held[seq] {
				s.add("release", seq)
				name(seq)
				s.out = append(s.out, '}')
				return
			}
			done++
			if over {
				going--
				return
			}
			acquire(seq)
		})
		if err != nil {
			return done, err
		}
	}
	return done, nil
}

// handOffs takes the one lock of all clients again and again. Each time it gives it back and queues for it anew in one message.
func (s *session) handOffs(next *atomic.Int64, owner int, ended func() bool) (done int, err error) {
	var id int64
	add := func(op string, seq int) {
		s.add(op, seq)
		s.out = strconv.AppendInt(append(s.out, `,"resource":"one","owner":"worker-`...), int64(owner), 10)
		s.out = strconv.AppendInt(append(s.out, `","id":"request-`...), id, 10)
		s.out = append(s.out, '"')
	}
	const acquiring, releasing = 1, 2
	acquire := func() {
		id = next.Add(1)
		add("acquire", acquiring)
		s.out = append(s.out, `,"expire":30,"wait":60}`...)
	}
	acquire()
	unanswered := 1
	for over := false; unanswered > 0; {
		if err := s.flush(); err != nil {
			return done, err
		}
		err := s.read(func(seq int) {
			unanswered--
			if seq == releasing {
				return
			}
			done++
			add("release", releasing)
			s.out = append(s.out, '}')
			unanswered++
			if over = over || ended(); !over {
				acquire()
				unanswered++
			}
		})
		if err != nil {
			return done, err
		}
	}
	return done, nil
}
