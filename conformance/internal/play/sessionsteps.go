package play

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"slices"
	"sync"

	"github.com/gobwas/ws"

	"github.com/lockserver/lockserver/conformance/internal/cases"
)

// session is one of the runner's own, which sends what the case says and keeps what comes.
type session struct {
	conn net.Conn
	in   *bufio.Reader

	mu       sync.Mutex
	queue    []ws.Frame // to be written, in the order of the steps
	writing  bool
	seq      int64
	asked    map[int64]*question
	messages int            // that came
	pings    int            // that came
	events   []any          // among them
	strays   []any          // answers to no question
	closed   map[string]any // how it ended
}

// question is a message of requests, and the answers to them.
type question struct {
	answers []map[string]any // in the order of the requests
	at      map[int64]int
	order   []any // of their arrival, counted from 1
	done    chan struct{}
	once    sync.Once
}

// openSession asks for a session. The op ends with the answer to that; the session goes on until it is given up.
func (r *run) openSession(ctx context.Context, s *cases.Step, a *cases.Session) (*op, error) {
	dial, cancel := context.WithTimeout(ctx, r.Patience)
	defer cancel()
	var d net.Dialer
	conn, err := d.DialContext(dial, "tcp", r.server.SuiteAddr())
	if err != nil {
		return nil, err
	}
	if tcp, ok := conn.(*net.TCPConn); ok && a.Deaf {
		if err := tcp.SetReadBuffer(16 << 10); err != nil { // so that little is on its way
			return nil, errors.Join(err, conn.Close())
		}
	}
	req, err := http.NewRequestWithContext(ctx, cmp.Or(a.Method, http.MethodGet), "http://"+r.server.SuiteAddr()+"/session", http.NoBody)
	if err != nil {
		return nil, err
	}
	headers := map[string]string{
		"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
		"Sec-WebSocket-Protocol": "lockserver.v1", "X-LOCKSERVER-SECRET": r.secret,
	}
	maps.Copy(headers, a.Headers)
	for name, value := range headers {
		if name == "Host" {
			req.Host = value
		} else if !slices.Contains(a.Without, name) {
			req.Header.Set(name, value)
		}
	}
	x := &session{conn: conn, in: bufio.NewReader(conn), asked: map[int64]*question{}}
	o := begin(cmp.Or(s.As, "session"), func() { reset(conn) }, func() (map[string]any, error) {
		if err := req.Write(conn); err != nil {
			return nil, err
		}
		res, err := http.ReadResponse(x.in, req)
		if err != nil {
			return nil, err
		}
		if res.StatusCode != http.StatusSwitchingProtocols {
			defer reset(conn)
			return answer(res)
		}
		if !a.Deaf {
			go x.read()
		}
		headers := map[string]any{}
		for k := range res.Header {
			headers[http.CanonicalHeaderKey(k)] = res.Header.Get(k)
		}
		return map[string]any{"status": float64(res.StatusCode), "headers": headers}, nil
	})
	o.session = x
	return o, nil
}

// on is the session of that name, once it stands.
func (r *run) on(ctx context.Context, name string) (*session, error) {
	o, err := r.op(name)
	if err != nil {
		return nil, err
	}
	if o.session == nil {
		return nil, fmt.Errorf("%s is no session", name)
	}
	return o.session, await(ctx, o.Done, r.Patience, name)
}

// ask sends one message of requests. The op ends once all are answered: with the answer, or with answers in the order of the requests
// and the order in which they came.
func (r *run) ask(ctx context.Context, s *cases.Step, a *cases.Ask) (*op, error) {
	x, err := r.on(ctx, a.On)
	if err != nil {
		return nil, err
	}
	list, several := a.For.([]any)
	if !several {
		list = []any{a.For}
	}
	if a.Times > 0 {
		list, several = append(slices.Repeat(list[:1], a.Times), list[1:]...), true
	}
	q := &question{answers: make([]map[string]any, len(list)), at: map[int64]int{}, done: make(chan struct{})}
	var message []map[string]any
	x.mu.Lock()
	for i, item := range list {
		fields, ok := item.(map[string]any)
		if !ok {
			x.mu.Unlock()
			return nil, fmt.Errorf("a request is an object, not %s", show(item))
		}
		fields = maps.Clone(fields)
		if name, ok := fields["resource"].(string); ok && !a.Exact {
			fields["resource"] = r.resource(name)
		}
		if fields["seq"] == nil {
			x.seq++
			fields["seq"] = x.seq
		}
		if n, ok := number(fields["seq"]); ok {
			q.at[int64(n)] = i
			if x.asked[int64(n)] == nil { // a case may use one twice
				x.asked[int64(n)] = q
			}
		}
		message = append(message, fields)
	}
	x.mu.Unlock()
	var text []byte
	if several {
		text, err = json.Marshal(message)
	} else {
		text, err = json.Marshal(message[0])
	}
	if err != nil {
		return nil, err
	}
	x.write(ws.MaskFrameInPlace(ws.NewTextFrame(text)))
	o := begin(cmp.Or(s.As, "ask"), func() { reset(x.conn) }, func() (map[string]any, error) {
		<-q.done
		x.mu.Lock()
		defer x.mu.Unlock()
		if len(q.order) < len(list) {
			return nil, fmt.Errorf("the session ended: %s", show(x.closed))
		}
		if !several {
			return q.answers[0], nil
		}
		answers := make([]any, len(list))
		for i, answer := range q.answers {
			answers[i] = answer
		}
		return map[string]any{"status": float64(http.StatusOK), "answers": answers, "order": q.order}, nil
	})
	r.defers = append(r.defers, func() error { q.end(); return nil })
	return o, nil
}

func (q *question) end() { q.once.Do(func() { close(q.done) }) }

// frame sends one frame as the case has it.
func (r *run) frame(ctx context.Context, a *cases.Frame) error {
	x, err := r.on(ctx, a.On)
	if err != nil {
		return err
	}
	kinds := map[string]ws.OpCode{"": ws.OpText, "text": ws.OpText, "binary": ws.OpBinary, "continuation": ws.OpContinuation, "ping": ws.OpPing, "close": ws.OpClose}
	payload := []byte(a.Text)
	if a.Code != 0 {
		payload = ws.NewCloseFrameBody(ws.StatusCode(a.Code), a.Text)
	}
	f := ws.NewFrame(kinds[a.Kind], !a.More, payload)
	if !a.Unmasked {
		f = ws.MaskFrameInPlace(f)
	}
	f.Header.Length = max(f.Header.Length, a.Claims)
	x.write(f)
	return nil
}

// write queues a frame, as a server that does not read must not hold up the case. Where writing fails, so will the next read.
func (x *session) write(f ws.Frame) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.queue = append(x.queue, f)
	if !x.writing {
		x.writing = true
		go x.writeAll()
	}
}

func (x *session) writeAll() {
	for {
		x.mu.Lock()
		if len(x.queue) == 0 {
			x.writing = false
			x.mu.Unlock()
			return
		}
		f := x.queue[0]
		x.queue = x.queue[1:]
		x.mu.Unlock()
		if err := ws.WriteHeader(x.conn, f.Header); err != nil {
			return
		}
		if _, err := x.conn.Write(f.Payload); err != nil {
			return
		}
	}
}

// heard is what came over a session besides the answers to what was asked.
func (r *run) heard(ctx context.Context, s *cases.Step, name string) (any, error) {
	x, err := r.on(ctx, name)
	if err != nil {
		return nil, err
	}
	return r.until(ctx, s, func() (any, error) {
		x.mu.Lock()
		defer x.mu.Unlock()
		seen := map[string]any{"messages": x.messages, "pings": x.pings, "events": slices.Clone(x.events), "strays": slices.Clone(x.strays)}
		if x.closed != nil {
			seen["closed"] = x.closed
		}
		return seen, nil
	})
}

// read takes what comes until the session ends, and answers pings.
func (x *session) read() {
	closed := map[string]any{"code": 0, "reason": ""}
	for {
		h, err := ws.ReadHeader(x.in)
		if err == nil && h.Length > 64<<20 {
			err = errors.New("a frame is too large")
		}
		payload := make([]byte, max(0, h.Length))
		if err == nil {
			_, err = io.ReadFull(x.in, payload)
		}
		if err != nil {
			x.end(closed)
			return
		}
		switch h.OpCode {
		case ws.OpPing:
			x.mu.Lock()
			x.pings++
			x.mu.Unlock()
			x.write(ws.MaskFrameInPlace(ws.NewPongFrame(payload)))
		case ws.OpClose:
			code, reason := ws.ParseCloseFrameData(payload)
			closed = map[string]any{"code": int(code), "reason": reason}
		case ws.OpText:
			x.take(payload)
		}
	}
}

// take sorts the objects of a message.
func (x *session) take(text []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.messages++
	var list []map[string]any
	var one map[string]any
	if json.Unmarshal(text, &list) != nil {
		if json.Unmarshal(text, &one) != nil {
			x.strays = append(x.strays, string(text))
			return
		}
		list = append(list, one)
	}
	for _, object := range list {
		seq, ok := object["seq"].(float64)
		q := x.asked[int64(seq)]
		switch {
		case !ok && object["event"] != nil:
			x.events = append(x.events, object)
		case q == nil:
			x.strays = append(x.strays, object)
		default:
			i := q.at[int64(seq)]
			q.answers[i] = object
			delete(x.asked, int64(seq))
			if q.order = append(q.order, i+1); len(q.order) == len(q.answers) {
				q.end()
			}
		}
	}
}

// end notes how the session ended, for those who asked too.
func (x *session) end(closed map[string]any) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed = closed
	for _, q := range x.asked {
		q.end()
	}
	_ = x.conn.Close()
}
