package netfault

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/gobwas/ws"
)

const (
	sessionPath = "/session"
	maxFrame    = 64 << 20
)

// session passes a session on. Each request in it counts as one over HTTP: it is noted with the path that it would have there, and a
// rule catches it in the same way. To close the connection in place of an answer is to end the session.
type session struct {
	tap       *tap
	asks      *http.Request // for the session
	conn      *linkConn
	client    net.Conn
	server    net.Conn
	requests  *bufio.Reader // of the client
	answers   *bufio.Reader // of the server
	ctx       context.Context
	end       context.CancelFunc
	closing   atomic.Bool // the server said so
	writes    sync.Mutex
	forwards  sync.Mutex
	mu        sync.Mutex
	unhandled map[int64]caught
}

// caught is a request that the server has, and the rule for its answer.
type caught struct {
	q    *Request
	rule *Rule
}

// wantsSession reports whether a request, whose path at the server is given, asks for a session.
func wantsSession(r *http.Request, path string) bool {
	return path == sessionPath && strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// session asks the server for a session, and passes on either that or the server's answer.
func (t *tap) session(w http.ResponseWriter, r *http.Request, q *Request, drop bool) {
	server, err := net.Dial("tcp", t.upstream())
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	out, err := http.NewRequestWithContext(r.Context(), r.Method, "http://"+server.RemoteAddr().String()+sessionPath, http.NoBody)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	out.Header = r.Header
	answers := bufio.NewReader(server)
	err = out.Write(server)
	var res *http.Response
	if err == nil {
		res, err = http.ReadResponse(answers, out)
	}
	if err != nil || drop {
		_ = server.Close()
		panic(http.ErrAbortHandler)
	}
	if res.StatusCode != http.StatusSwitchingProtocols {
		body, err := io.ReadAll(res.Body)
		if errors.Join(err, server.Close()) != nil {
			panic(http.ErrAbortHandler)
		}
		res.Header.Del("Connection")
		maps.Copy(w.Header(), res.Header)
		t.answer(w, q, res.StatusCode, body)
		return
	}
	client, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		_ = server.Close()
		panic(http.ErrAbortHandler)
	}
	s := &session{
		tap: t, asks: r, conn: r.Context().Value(connKey{}).(*linkConn), client: client, server: server,
		requests: buffered.Reader, answers: answers, unhandled: map[int64]caught{},
	}
	s.ctx, s.end = context.WithCancel(t.ctx)
	head := bytes.NewBufferString("HTTP/1.1 101 Switching Protocols\r\n")
	_ = res.Header.Write(head) // a buffer takes all
	head.WriteString("\r\n")
	t.mu.Lock()
	q.Status, q.session = res.StatusCode, true
	t.mu.Unlock()
	s.run(head.Bytes())
}

// run passes on what comes from both sides until one of them ends.
func (s *session) run(head []byte) {
	ended := make(chan struct{}, 2)
	go func() {
		defer func() { ended <- struct{}{} }()
		if s.toClient(head, true) == nil {
			_ = s.passAnswers() // how it ended is for the client to see
		}
	}()
	go func() {
		defer func() { ended <- struct{}{} }()
		_ = s.passRequests() // and for the server
	}()
	<-ended
	if s.closing.Load() { // the client is to read why, and closes
		_ = s.client.SetReadDeadline(time.Now().Add(time.Second))
		<-ended
	}
	s.end()
	_ = s.client.Close()
	_ = s.server.Close()
}

// message reads the next message, or control frame, of one side.
func message(in *bufio.Reader, control func(ws.Frame) error) ([]byte, error) {
	var text []byte
	for {
		h, err := ws.ReadHeader(in)
		if err != nil {
			return nil, err
		}
		if h.Length > maxFrame {
			return nil, fmt.Errorf("a frame of %d bytes", h.Length)
		}
		f := ws.Frame{Header: h, Payload: make([]byte, h.Length)}
		if _, err := io.ReadFull(in, f.Payload); err != nil {
			return nil, err
		}
		if h.Masked {
			f = ws.UnmaskFrameInPlace(f)
		}
		if f.Header.OpCode.IsControl() {
			if err := control(f); err != nil {
				return nil, err
			}
			continue
		}
		if text = append(text, f.Payload...); f.Header.Fin {
			return text, nil
		}
	}
}

// objects are the JSON objects of a message; none if it is anything else.
func objects(text []byte) []json.RawMessage {
	var list []json.RawMessage
	if json.Unmarshal(text, &list) == nil {
		return list
	}
	if !json.Valid(text) {
		return nil
	}
	return []json.RawMessage{text}
}

// joined is a message of objects.
func joined(list []json.RawMessage) []byte {
	if len(list) == 1 {
		return list[0]
	}
	return append(append([]byte("["), bytes.Join(rawBytes(list), []byte(","))...), ']')
}

func rawBytes(list []json.RawMessage) [][]byte {
	out := make([][]byte, len(list))
	for i, b := range list {
		out[i] = b
	}
	return out
}

func (s *session) passRequests() error {
	for {
		text, err := message(s.requests, s.toServer)
		if err != nil {
			return err
		}
		list := objects(text)
		if list == nil { // let the server judge
			if err := s.toServer(ws.NewTextFrame(text)); err != nil {
				return err
			}
			continue
		}
		var pass []json.RawMessage
		for _, object := range list {
			passes, err := s.request(object)
			if passes {
				pass = append(pass, object)
			}
			if err != nil {
				return errors.Join(err, s.forward(pass))
			}
		}
		if err := s.forward(pass); err != nil {
			return err
		}
	}
}

func (s *session) forward(list []json.RawMessage) error {
	if len(list) == 0 {
		return nil
	}
	return s.toServer(ws.NewTextFrame(joined(list)))
}

func (s *session) toServer(f ws.Frame) error {
	s.forwards.Lock()
	defer s.forwards.Unlock()
	return ws.WriteFrame(s.server, ws.MaskFrame(f))
}

var errEnds = errors.New("the link ends the session")

// request notes a request, and says whether it goes to the server now.
func (s *session) request(object json.RawMessage) (passes bool, err error) {
	var fields map[string]any
	if json.Unmarshal(object, &fields) != nil {
		return true, nil
	}
	op, _ := fields["op"].(string)
	number, _ := fields["seq"].(float64)
	seq := int64(number)
	body := maps.Clone(fields)
	delete(body, "op")
	delete(body, "seq")
	q, rule := s.tap.take(&Request{
		At: time.Now(), Method: http.MethodPost, Path: s.tap.prefix + pathOf(op), Header: s.asks.Header, Body: body, Connection: s.conn.serial,
	})
	switch {
	case rule.Then.Fault == "lose":
		return false, errEnds
	case rule.Then.Status != "":
		return false, s.made(seq, q, rule)
	case rule.Then.Fault == "hold_request":
		go s.late(seq, op, object, body, caught{q, rule})
		return false, nil
	}
	s.sent(seq, caught{q, rule})
	return true, nil
}

// pathOf is the path that an operation has over HTTP.
func pathOf(op string) string {
	if op == "show" {
		return "/lock"
	}
	return "/" + op
}

func (s *session) sent(seq int64, c caught) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unhandled[seq] = c
}

// made answers in the server's place.
func (s *session) made(seq int64, q *Request, rule *Rule) error {
	var body map[string]any
	if json.Unmarshal([]byte(rule.Then.Body), &body) != nil {
		s.tap.misused(fmt.Errorf("a session cannot carry the answer %q: the case is about HTTP", rule.Then.Body))
		return errEnds
	}
	maps.Copy(body, map[string]any{"seq": seq, "status": rule.status})
	answer, err := json.Marshal(body)
	if err != nil {
		return err
	}
	return s.pass(q, rule.status, answer)
}

// late sends a request once it is let go: in the session, or in a request of its own if the session has ended.
func (s *session) late(seq int64, op string, object json.RawMessage, body map[string]any, c caught) {
	select {
	case <-c.rule.held:
	case <-s.tap.ctx.Done():
		return
	}
	s.sent(seq, c)
	if s.ctx.Err() == nil && s.forward([]json.RawMessage{object}) == nil {
		return
	}
	b, err := json.Marshal(body)
	if err != nil {
		return
	}
	r := &http.Request{Method: http.MethodPost, Header: http.Header{}, URL: s.asks.URL}
	for _, name := range []string{"X-Lockserver-Secret", "Authorization"} {
		if v := s.asks.Header.Get(name); v != "" {
			r.Header.Set(name, v)
		}
	}
	if status, _, _, err := s.tap.forward(s.tap.ctx, r, pathOf(op), b); err == nil {
		s.tap.status(c.q, status)
	}
}

func (s *session) passAnswers() error {
	for {
		text, err := message(s.answers, s.control)
		if err != nil {
			return err
		}
		var pass []json.RawMessage
		for _, object := range objects(text) {
			answer, err := s.answer(object)
			if answer != nil {
				pass = append(pass, answer)
			}
			if err != nil {
				return err
			}
		}
		if len(pass) > 0 {
			if err := s.toClient(ws.MustCompileFrame(ws.NewTextFrame(joined(pass))), false); err != nil {
				return err
			}
		}
	}
}

// control passes on a control frame of the server.
func (s *session) control(f ws.Frame) error {
	b, err := ws.CompileFrame(f)
	if err != nil {
		return err
	}
	if f.Header.OpCode == ws.OpClose {
		s.closing.Store(true)
	}
	return s.toClient(b, true)
}

// toClient writes a frame. What is no answer passes even where answers are dropped.
func (s *session) toClient(frame []byte, always bool) error {
	s.writes.Lock()
	defer s.writes.Unlock()
	s.conn.always.Store(always)
	defer s.conn.always.Store(false)
	_, err := s.client.Write(frame)
	return err
}

// answer gives what is to be passed on now for an object of the server.
func (s *session) answer(object json.RawMessage) (json.RawMessage, error) {
	var head struct {
		Seq    int64 `json:"seq"`
		Status int   `json:"status"`
	}
	if json.Unmarshal(object, &head) != nil || head.Seq == 0 {
		return object, nil // an event
	}
	s.mu.Lock()
	c, ok := s.unhandled[head.Seq]
	delete(s.unhandled, head.Seq)
	s.mu.Unlock()
	if !ok {
		return object, nil
	}
	then := c.rule.Then
	if then.Fault == "drop_answer" {
		return nil, errEnds
	}
	if then.Merge != nil {
		var err error
		if object, err = merge(object, then.Merge); err != nil {
			return nil, err
		}
	}
	switch {
	case then.Fault == "hold_answer":
		go func() {
			select {
			case <-c.rule.held:
				_ = s.pass(c.q, head.Status, object) // the client may have gone
			case <-s.ctx.Done():
			}
		}()
		return nil, nil
	case then.Delay > 0:
		time.AfterFunc(time.Duration(then.Delay*float64(time.Second)), func() { _ = s.pass(c.q, head.Status, object) }) // the client may have gone
		return nil, nil
	}
	s.tap.status(c.q, head.Status)
	return object, nil
}

// pass passes on one answer.
func (s *session) pass(q *Request, status int, answer json.RawMessage) error {
	s.tap.status(q, status)
	return s.toClient(ws.MustCompileFrame(ws.NewTextFrame(answer)), false)
}
