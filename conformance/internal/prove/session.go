package prove

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/gobwas/ws"
	"github.com/gobwas/ws/wsutil"
)

// sessions asks in a session, and makes a new one when it has ended.
type sessions struct {
	addr string

	mu  sync.Mutex // held while one is made
	now *session
}

// session is one connection.
type session struct {
	conn net.Conn
	in   io.ReadWriter
	over chan struct{} // is closed when it has ended

	mu      sync.Mutex
	seq     int64
	waiting map[int64]chan answer
}

var errSessionOver = errors.New("the session has ended")

// get returns the session, or a new one.
func (s *sessions) get(ctx context.Context) (*session, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now != nil {
		select {
		case <-s.now.over:
		default:
			return s.now, nil
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	dialer := ws.Dialer{Protocols: []string{"lockserver.v1"}, Header: ws.HandshakeHeaderHTTP(http.Header{"X-LOCKSERVER-SECRET": {secret}})}
	conn, buffered, _, err := dialer.Dial(ctx, "ws://"+s.addr+"/session")
	if err != nil {
		return nil, err
	}
	x := &session{conn: conn, over: make(chan struct{}), waiting: map[int64]chan answer{}}
	x.in = &serial{Writer: conn, Reader: conn, mu: &x.mu}
	if buffered != nil {
		x.in = &serial{Writer: conn, Reader: io.MultiReader(buffered, conn), mu: &x.mu}
	}
	go x.read()
	s.now = x
	return x, nil
}

// serial keeps the answers to pings apart from requests.
type serial struct {
	io.Reader
	io.Writer
	mu *sync.Mutex
}

func (s *serial) Write(b []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.Writer.Write(b)
}

func (x *session) read() {
	defer close(x.over)
	defer x.conn.Close()
	for {
		text, err := wsutil.ReadServerText(x.in)
		if err != nil {
			return
		}
		var all []json.RawMessage
		if json.Unmarshal(text, &all) != nil {
			all = []json.RawMessage{text}
		}
		for _, one := range all {
			var a struct {
				answer
				Seq int64 `json:"seq"`
			}
			if json.Unmarshal(one, &a) != nil {
				return
			}
			x.mu.Lock()
			if to := x.waiting[a.Seq]; to != nil {
				delete(x.waiting, a.Seq)
				to <- a.answer
			}
			x.mu.Unlock()
		}
	}
}

func (s *sessions) ask(ctx context.Context, op string, fields map[string]any) (answer, error) {
	x, err := s.get(ctx)
	if err != nil {
		return answer{}, err
	}
	to := make(chan answer, 1)
	x.mu.Lock()
	x.seq++
	seq := x.seq
	x.waiting[seq] = to
	text, err := request(seq, op, fields)
	if err == nil {
		err = errors.Join(x.conn.SetWriteDeadline(time.Now().Add(patient)), wsutil.WriteClientText(x.conn, text))
	}
	x.mu.Unlock()
	if err != nil {
		_ = x.conn.Close() // its reader ends
		return answer{}, err
	}
	select {
	case a := <-to:
		return a, nil
	case <-x.over:
		select {
		case a := <-to:
			return a, nil
		default:
			return answer{}, errSessionOver
		}
	case <-ctx.Done():
		_ = x.conn.Close() // it may be a connection that leads nowhere
		return answer{}, ctx.Err()
	}
}

func (s *sessions) close() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now != nil {
		_ = s.now.conn.Close()
		<-s.now.over
	}
}
