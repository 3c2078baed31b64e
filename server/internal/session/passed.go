package session

import (
	"github.com/lockserver/lockserver/server/internal/forward"
	"github.com/lockserver/lockserver/server/internal/service"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// passed is what is known of a session that came by a server which stands by. That one's connection takes answers which may never reach
// the client; when the session is over, it reports how many bytes did.
type passed struct {
	name    string // "" for a session that came straight here
	bytes   int64  // that were written
	acquire []written
	oldest  int // in acquire, once that is full
}

// written is an answer to an acquire that was written.
type written struct {
	ticket service.Ticket
	end    int64 // of its message, in bytes
}

// mostWritten is how many answers are kept: those before them are taken to have arrived.
const mostWritten = 1024

// wrote counts bytes.
func (p *passed) wrote(n int) { p.bytes += int64(n) }

// answered keeps the tickets of calls whose answers end with what was written last.
func (p *passed) answered(c *calls, slots []uint32) {
	for _, slot := range slots {
		one := c.at(slot)
		if one.op != wire.Acquire {
			continue
		}
		w := written{one.ticket, p.bytes}
		if len(p.acquire) < mostWritten {
			p.acquire = append(p.acquire, w)
			continue
		}
		p.acquire[p.oldest] = w
		p.oldest = (p.oldest + 1) % mostWritten
	}
}

// await leaves what was written and did not arrive, once that is known. The session has ended.
func (p *passed) await(reports *forward.Reports) {
	if p.name == "" || len(p.acquire) == 0 {
		return
	}
	all := p.acquire
	reports.Await(p.name, func(handed int64) {
		for _, w := range all {
			if w.end > handed {
				w.ticket.Leave()
			}
		}
	})
}

// Part tells a session that came by a server which shuts down, and closes it. The client comes back with its ids by another one.
func (s *Server) Part(name string) {
	s.each(func(x *session) {
		if name != "" && x.passed.name == name {
			x.push(wire.AppendDrainingEvent)
			x.shut()
		}
	})
}

// shut closes the session once what is queued is written.
func (x *session) shut() {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closing == nil {
		x.closing = goingAway
	}
	x.wake()
}
