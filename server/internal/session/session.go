package session

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"sync"
	"time"

	"github.com/gobwas/ws"

	"github.com/lockserver/lockserver/server/internal/fault"
	"github.com/lockserver/lockserver/server/internal/host"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/service"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// session is one connection. Its states are:
//
//	open       requests are read and answered
//	finishing  the server shuts down: once nothing is unanswered or unwritten, it is closed
//	closing    a close frame is the last thing to be written
//	ended      nothing is written any more; calls whose answers were not written are left
type session struct {
	server *Server
	conn   net.Conn
	from   string
	in     *bufio.Reader // of the reader
	head   []byte        // of the reader: the header of a frame
	call   service.Call  // of the reader: the request that it handles
	came   time.Duration // of the reader: when the message came that it handles
	ping   host.Alarm
	until  time.Time // of the writer: the end of its time

	mu        sync.Mutex
	changed   host.Cond // something was written, or there is room, or the session has ended
	calls     calls
	held      map[int64]held // by token: grants to renew, and to tell of if they are lost
	keeping   bool           // a keepalive that has many leases is on its way
	kept      []uint32       // the slots of those behind it
	queue     []*frame       // to be written; the last one is still filled
	unsent    int            // bytes in it
	pong      []byte         // the frame that answers the last ping
	pinging   bool           // a ping is to be written
	closing   []byte         // the close frame that ends the session
	batch     bool           // the reader is handling requests, and will write
	writing   bool
	stalled   bool // the reader waits for room or writes, so it sees no pong
	pings     int  // without a pong
	finishing bool
	ended     bool
	passed    passed
}

// held is a grant that the session was given.
type held struct {
	resource, owner string
	leased          bool
}

const readBuffer = 4 << 10

// newSession makes a session of a connection, of which in reads.
func newSession(s *Server, conn net.Conn, in io.Reader, from string) *session {
	x := &session{
		server: s, conn: conn, from: from, head: make([]byte, ws.MaxHeaderSize), held: map[int64]held{},
	}
	x.in = bufio.NewReaderSize(flushing{x, in}, readBuffer)
	x.changed = s.host.Cond(&x.mu)
	return x
}

// flushing writes all answers before it reads, as that may take long.
type flushing struct {
	x  *session
	in io.Reader
}

func (f flushing) Read(b []byte) (int, error) {
	f.x.flush()
	return f.in.Read(b)
}

// run reads requests until the connection or the session ends.
func (x *session) run() {
	x.mu.Lock()
	x.ping = x.server.host.AfterFunc(x.server.cfg.PingInterval, x.tick)
	x.mu.Unlock()
	err := x.read()
	if broken, ok := errors.AsType[*closeError](err); ok {
		x.close(broken.code, broken.reason)
		x.linger()
	}
	x.end()
	x.server.log.Debug("session ended", "remote", x.from, "error", err)
}

// read handles messages until there is an error. A [*closeError] is to be told to the client.
func (x *session) read() error {
	var message wire.Message
	for {
		text, err := x.message()
		if err != nil {
			return err
		}
		if text == nil {
			continue
		}
		x.mu.Lock()
		x.batch = true
		x.mu.Unlock()
		x.came = x.since()
		message.Read(*text)
		for {
			op, p, err := message.Next(&x.call.Fields)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				return &closeError{ws.StatusInvalidFramePayloadData, err.Error()}
			}
			if err := x.handle(op, p); err != nil {
				return err
			}
		}
		message.Read(nil) // it must not keep a large text while the session is idle
		if cap(*text) <= keptInput {
			x.server.inputs.Put(text)
		}
	}
}

// handle starts the request that was read into x.call. Its answer comes by [session.Answer], unless it has a problem already.
func (x *session) handle(op wire.Operation, p *wire.Problem) error {
	c := &x.call
	c.Op, c.From, c.Uncapped = op, x.from, true // no proxy cuts a session for being silent, as it pings
	slot, err := x.begin(c)
	if err != nil {
		return err
	}
	switch {
	case p != nil:
	case op == wire.Keepalive:
		x.keepalive(slot)
		return nil
	default:
		var ticket service.Ticket
		ticket, p = x.server.service.Start(context.Background(), c, lock.Reply{To: x, N: uint64(slot)})
		if p == nil {
			if op == wire.Acquire {
				x.keep(slot, ticket)
			}
			return nil
		}
	}
	x.mu.Lock()
	defer x.mu.Unlock()
	f := &c.Fields
	x.answer(slot, &service.Result{
		Op: op, Resource: f.Text(wire.FieldResource), Owner: f.Text(wire.FieldOwner), ID: f.Text(wire.FieldID), Problem: p,
	})
	return nil
}

// keep keeps the ticket of an acquire, to leave if its answer is not delivered.
func (x *session) keep(slot uint32, ticket service.Ticket) {
	x.mu.Lock()
	defer x.mu.Unlock()
	c := x.calls.at(slot)
	if !c.taken { // the answer was written meanwhile
		return
	}
	c.ticket = ticket
	if c.seq != 0 && ticket.Parked() {
		x.calls.park(c)
	}
}

// begin makes a call. It waits for room if the session has too many unanswered requests or unwritten answers. Requests that
// are parked do not count, as what they wait for may be a release behind them; the engine bounds them.
func (x *session) begin(c *service.Call) (slot uint32, err error) {
	x.mu.Lock()
	defer x.mu.Unlock()
	for !x.ended && (x.calls.unanswered-x.calls.parked >= x.server.cfg.MaxOperations || x.unsent > x.server.cfg.MaxUnsent) {
		x.stalled = true
		x.batch = false
		if !x.startWriting() {
			x.changed.Wait()
			continue
		}
		x.mu.Unlock()
		x.write()
		x.mu.Lock()
	}
	if x.stalled {
		x.stalled, x.pings = false, 0
	}
	x.batch = true
	if x.ended {
		return 0, net.ErrClosed
	}
	f := &c.Fields
	slot, ok := x.calls.begin(
		call{seq: f.Number(wire.FieldSeq), taken: true, op: c.Op, began: x.came},
		names{f.Text(wire.FieldResource), f.Text(wire.FieldOwner), f.Text(wire.FieldID)},
	)
	if !ok {
		return 0, &closeError{ws.StatusPolicyViolation, "a seq is used while the request before it is unanswered"}
	}
	return slot, nil
}

// Answer takes an answer of the engine. It is called under the engine's mutex, so it only encodes.
func (x *session) Answer(n uint64, a *lock.Answer) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return
	}
	c := x.calls.at(uint32(n))
	r := service.Result{Op: c.op}
	if named := x.calls.namesOf(c); named != nil {
		r.Resource, r.Owner, r.ID = named.resource, named.owner, named.id
	} else {
		r.Resource, r.Owner, r.ID = c.ticket.Named()
	}
	r.Set(a)
	x.note(&r, a)
	x.answer(uint32(n), &r)
}

// note keeps track of what the session holds: what it acquired, asked for again or renewed by id.
func (x *session) note(r *service.Result, a *lock.Answer) {
	switch {
	case a.Code == lock.Granted && r.ID != "":
		x.held[a.Token] = held{r.Resource, r.Owner, a.ExpiresIn != lock.NoLease}
		x.server.holders.set(a.Token, x)
	case a.Code == lock.Released && a.Token != 0:
		if _, mine := x.held[a.Token]; mine {
			x.forget(a.Token)
		}
	}
}

func (x *session) forget(token int64) {
	delete(x.held, token)
	x.server.holders.leave(token, x)
}

// answer queues the answer to a call.
func (x *session) answer(slot uint32, r *service.Result) {
	if x.ended {
		return
	}
	x.server.service.Audit(x.from, r)
	c := x.calls.at(slot)
	took := x.since() - c.began
	seq := c.seq
	if fault.AnswersSwapped {
		seq ^= 1
	}
	f := x.add(func(b []byte) []byte { return wire.AppendSessionAnswer(b, seq, r.Status(), r.Append) })
	x.calls.answered(c)
	f.calls = append(f.calls, slot)
	f.counts = append(f.counts, count{c.op, r.Outcome(), took})
	x.wake()
}

// push queues a message that answers no request.
func (x *session) push(object func([]byte) []byte) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if !x.ended {
		x.add(object)
		x.wake()
	}
}

// lose tells that a grant is lost.
func (x *session) lose(l *wire.Lost) {
	x.mu.Lock()
	delete(x.held, l.Token)
	x.mu.Unlock()
	x.push(func(b []byte) []byte { return wire.AppendLostEvent(b, l) })
}

// add appends an object to the queue.
func (x *session) add(object func([]byte) []byte) *frame {
	n := len(x.queue)
	if n == 0 || x.queue[n-1].full() {
		x.queue = append(x.queue, x.server.frames.Get().(*frame))
		n++
	}
	f := x.queue[n-1]
	before := len(f.b)
	f.add(object)
	x.unsent += len(f.b) - before
	return f
}

// finish closes the session once everything is answered and written.
func (x *session) finish() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.finishing = true
	x.wake()
}

// close makes a close frame the last that is written.
func (x *session) close(code ws.StatusCode, reason string) {
	x.mu.Lock()
	x.batch = false
	if x.closing == nil {
		reason = strings.ToValidUTF8(reason[:min(len(reason), maxReason)], "")
		x.closing = ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(code, reason)))
	}
	x.mu.Unlock()
	x.flush()
}

// end ends the session, and leaves what was not delivered.
func (x *session) end() {
	x.ping.Stop()
	_ = x.conn.Close()
	x.mu.Lock()
	x.ended = true
	x.changed.Broadcast()
	for x.writing {
		x.changed.Wait()
	}
	left, lost, queue := x.calls, x.held, x.queue
	x.calls, x.held, x.queue = calls{}, nil, nil
	x.mu.Unlock()
	var counts []count
	for _, f := range queue {
		counts = append(counts, f.counts...)
	}
	left.each(func(c *call) {
		if !fault.WaitersOfSessionsKept {
			c.ticket.Leave()
		}
		if c.seq != 0 {
			counts = append(counts, count{c.op, service.Gone, x.since() - c.began})
		}
	})
	x.tell(counts)
	for token := range lost {
		x.server.holders.leave(token, x)
	}
	x.passed.await(x.server.cfg.Reports)
	x.server.remove(x)
}

// since is the time since the start of the server.
func (x *session) since() time.Duration { return x.server.host.Since(x.server.start) }

func (x *session) tell(counts []count) {
	for _, c := range counts {
		x.server.service.Count(c.op, c.outcome, c.took)
	}
}
