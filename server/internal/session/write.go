package session

import (
	"github.com/gobwas/ws"

	"github.com/lockserver/lockserver/server/internal/wire"
)

// goingAway is the close frame of a server that shuts down.
var goingAway = ws.MustCompileFrame(ws.NewCloseFrame(ws.NewCloseFrameBody(ws.StatusGoingAway, "the server shuts down")))

// wake sees to it that what was queued is written: by whoever writes now, by the reader at the end of its batch, or by a goroutine of
// its own. It is called with x.mu held.
func (x *session) wake() {
	if x.batch || !x.startWriting() {
		return
	}
	x.server.host.Go(x.write)
}

// flush writes what is queued, unless somebody does already.
func (x *session) flush() {
	x.mu.Lock()
	x.batch = false
	start := x.startWriting()
	x.stalled = start
	x.mu.Unlock()
	if start {
		x.write()
		x.mu.Lock()
		x.stalled, x.pings = false, 0
		x.mu.Unlock()
	}
}

// startWriting makes the caller the writer if there is something to write and no other. It is called with x.mu held.
func (x *session) startWriting() bool {
	idle := len(x.queue) == 0 && x.pong == nil && !x.pinging && x.closing == nil && !(x.finishing && x.calls.unanswered == 0)
	if x.writing || x.ended || idle {
		return false
	}
	x.writing = true
	return true
}

// write writes until nothing is queued. Its caller is the writer.
func (x *session) write() {
	for {
		x.mu.Lock()
		control, f, last := x.next()
		size := 0
		if f != nil {
			size = len(f.b) - headroom // what add has counted: no brackets
		}
		if x.ended || control == nil && f == nil {
			x.writing = false
			x.changed.Broadcast()
			x.mu.Unlock()
			return
		}
		x.mu.Unlock()

		if f != nil {
			x.tell(f.counts)
		}
		sent := len(control)
		err := x.send(control)
		if err == nil && f != nil {
			b := f.bytes()
			sent += len(b)
			err = x.send(b)
		}
		x.mu.Lock()
		if x.passed.name != "" {
			x.passed.wrote(sent)
		}
		if err == nil && f != nil {
			if x.passed.name != "" {
				x.passed.answered(&x.calls, f.calls)
			}
			x.calls.end(f.calls)
			x.unsent -= size
			x.recycle(f)
		}
		if err != nil || last {
			x.ended = true // the reader sees the end of the connection, and leaves what was not delivered
		}
		x.changed.Broadcast()
		x.mu.Unlock()
		switch {
		case err != nil:
			_ = x.conn.Close()
		case last:
			_ = x.conn.SetReadDeadline(x.server.host.Now().Add(lingerTime)) // the client closes, or else the reader does
		}
	}
}

// next takes from the queue what is to be written next: control frames, and one message. last says that nothing may follow.
func (x *session) next() (control []byte, f *frame, last bool) {
	if x.pong != nil {
		control, x.pong = x.pong, nil
	}
	if x.pinging {
		control, x.pinging = append(control, ws.CompiledPing...), false
	}
	if len(x.queue) > 0 {
		f = x.queue[0]
		x.queue[0] = nil
		if x.queue = x.queue[1:]; len(x.queue) == 0 {
			x.queue = nil
		}
		return control, f, false
	}
	if x.closing == nil && x.finishing && x.calls.unanswered == 0 {
		x.closing = goingAway
	}
	if x.closing != nil {
		return append(control, x.closing...), nil, true
	}
	return control, nil, false
}

// chunk is how much a client has to take within the time limit.
const chunk = 64 << 10

func (x *session) send(b []byte) error {
	for len(b) > 0 {
		n := min(len(b), chunk)
		// The time limit is set for several writes, each of which has at least as long as it must: to set it takes a while.
		if now, limit := x.server.host.Now(), x.server.cfg.WriteTimeout; x.until.Sub(now) < limit {
			x.until = now.Add(limit + limit/4)
			if err := x.conn.SetWriteDeadline(x.until); err != nil {
				return err
			}
		}
		if _, err := x.conn.Write(b[:n]); err != nil {
			return err
		}
		b = b[n:]
	}
	return nil
}

// recycle gives a frame back for reuse, if it is not too large to keep.
func (x *session) recycle(f *frame) {
	if cap(f.b) <= keptFrame {
		f.reset()
		x.server.frames.Put(f)
	}
}

// tick pings the client, and closes the connection if it did not answer the last two pings. A session that is not read, because it has
// too much going on, sees no pongs, and a ping that is still behind a long answer counts as none.
func (x *session) tick() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.ended {
		return
	}
	if x.pings == wire.SessionPings && !x.stalled && !x.pinging {
		_ = x.conn.Close()
		return
	}
	if !x.stalled && !x.pinging {
		x.pings++
	}
	x.pinging = true
	x.wake()
	x.ping.Reset(x.server.cfg.PingInterval)
}
