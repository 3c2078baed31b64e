// Package session is the front end that carries many operations over one connection, a WebSocket (RFC 6455). Like httpapi it reads bytes,
// calls the service and writes bytes.
//
// A session has one goroutine, which reads. Answers are encoded where the engine gives them, under its mutex, into a buffer of the
// session. Whoever then finds nobody writing writes: the reader once it has handled all that has come, or a goroutine made for the
// occasion. So one write carries all answers of a batch, and a client that reads slowly holds up nobody but itself.
package session

import (
	"context"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockserver/lockserver/server/internal/fault"
	"github.com/lockserver/lockserver/server/internal/forward"
	"github.com/lockserver/lockserver/server/internal/host"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/service"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// Config is what sessions need.
type Config struct {
	MaxOperations int              // unanswered requests of one session that are not parked; beyond it the session is not read
	MaxUnsent     int              // bytes of answers that wait to be written; beyond it the session is not read
	WriteTimeout  time.Duration    // after which a session that takes nothing is closed
	PingInterval  time.Duration    // 0: 15 s; a session is closed at the third ping if the two before got no pong
	LeasesAtOnce  int              // 0: 256; how many leases a keepalive renews before it lets others in
	Reports       *forward.Reports // nil for a server without a cluster
	Logger        *slog.Logger
	Host          host.Host // nil: this machine
}

// Server has all sessions of a server.
type Server struct {
	cfg     Config
	service *service.Service
	log     *slog.Logger
	host    host.Host
	start   time.Time
	frames  sync.Pool // of *frame
	inputs  sync.Pool // of *[]byte
	holders holders

	mu       sync.Mutex
	sessions map[*session]struct{}
	draining bool
	standby  bool
	gone     chan struct{} // closed once there are no sessions and will be none
}

// NewServer makes a server without sessions.
func NewServer(s *service.Service, cfg Config) *Server {
	if cfg.PingInterval == 0 {
		cfg.PingInterval = wire.SessionPing
	}
	if cfg.LeasesAtOnce == 0 {
		cfg.LeasesAtOnce = 256
	}
	if cfg.Host == nil {
		cfg.Host = host.Machine{}
	}
	return &Server{
		cfg: cfg, service: s, log: cfg.Logger, host: cfg.Host, start: cfg.Host.Now(), sessions: map[*session]struct{}{}, gone: make(chan struct{}),
		frames:  sync.Pool{New: func() any { return newFrame() }},
		inputs:  sync.Pool{New: func() any { b := make([]byte, 0, readBuffer); return &b }},
		holders: newHolders(),
	}
}

// Sessions returns the number of open sessions.
func (s *Server) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

// add runs a session, unless the server is shutting down or stands by.
func (s *Server) add(x *session) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.draining || s.standby {
		return false
	}
	s.sessions[x] = struct{}{}
	s.host.Go(x.run)
	return true
}

func (s *Server) remove(x *session) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, x)
	s.checkGone()
}

// checkGone closes gone if it is time. It is called with s.mu held.
func (s *Server) checkGone() {
	if !s.draining || len(s.sessions) > 0 {
		return
	}
	select {
	case <-s.gone:
	default:
		close(s.gone)
	}
}

// each calls do for every session there is.
func (s *Server) each(do func(*session)) {
	s.mu.Lock()
	list := make([]*session, 0, len(s.sessions))
	for x := range s.sessions {
		list = append(list, x)
	}
	s.mu.Unlock()
	for _, x := range list {
		do(x)
	}
}

// MaxLost is how many batches of events may wait for [Server.Watch].
const MaxLost = 1 << 14

// Lost are the kinds of events that [Server.Watch] needs.
var Lost = []lock.EventKind{lock.EventExpired, lock.EventEvicted, lock.EventYield}

// Watch tells sessions of the grants that they lose, or are asked to give back, until events is closed. If it falls behind so far that events are dropped, the
// sessions concerned learn of the loss by their next renewal.
func (s *Server) Watch(events <-chan []lock.Event, dropped *atomic.Int64) {
	reported := int64(0)
	for batch := range events {
		s.Tell(batch)
		if n := dropped.Load(); n > reported {
			s.log.Warn("sessions were not told of losses: more came at once than can be queued", "losses", n-reported)
			reported = n
		}
	}
}

// Tell tells sessions of the grants that they lose, or are asked to give back, by some events.
func (s *Server) Tell(events []lock.Event) {
	for i := range events {
		e := &events[i]
		grant := &wire.Lost{Resource: e.Resource, Owner: e.Owner, ID: e.ID, Token: e.Token, Reason: e.Kind.String()}
		if e.Kind == lock.EventYield {
			if x := s.holders.get(e.Token); x != nil && !fault.YieldsNotTold {
				x.push(func(b []byte) []byte { return wire.AppendYieldEvent(b, grant, e.By) })
			}
			continue
		}
		if x := s.holders.remove(e.Token); x != nil && !fault.LossesNotTold {
			x.lose(grant)
		}
	}
}

// StandBy closes each session once everything is answered, and refuses new ones until Lead: whoever leads has to serve them.
func (s *Server) StandBy() {
	s.mu.Lock()
	s.standby = true
	s.mu.Unlock()
	s.each((*session).finish)
}

// Lead takes sessions again.
func (s *Server) Lead() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.standby = false
}

// Drain tells every session that the server is shutting down, and refuses new ones. The engine answers the operations.
func (s *Server) Drain() {
	s.refuse()
	s.each(func(x *session) { x.push(wire.AppendDrainingEvent) })
}

func (s *Server) refuse() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.draining = true
	s.checkGone()
}

// Shutdown refuses new sessions, and closes each that there is once everything is answered. When ctx ends it closes those that are
// left, and returns its error.
func (s *Server) Shutdown(ctx context.Context) error {
	s.refuse()
	s.each((*session).finish)
	if s.host.Wait(s.gone, ctx.Done(), nil, nil) == 0 {
		return nil
	}
	s.Close()
	s.host.Wait(s.gone, nil, nil, nil)
	return ctx.Err()
}

// Close closes every session at once.
func (s *Server) Close() {
	s.each(func(x *session) { _ = x.conn.Close() })
}

// holders tells which session to tell of the loss of a grant, by its token. It is in parts, so that sessions do not wait for each
// other.
type holders []*holdersPart

type holdersPart struct {
	mu       sync.Mutex
	sessions map[int64]*session
}

func newHolders() holders {
	h := make(holders, 16)
	for i := range h {
		h[i] = &holdersPart{sessions: map[int64]*session{}}
	}
	return h
}

func (h holders) part(token int64) *holdersPart { return h[uint64(token)%uint64(len(h))] }

// set makes x the session to be told.
func (h holders) set(token int64, x *session) {
	p := h.part(token)
	p.mu.Lock()
	p.sessions[token] = x
	p.mu.Unlock()
}

// get returns which session is to be told, or nil.
func (h holders) get(token int64) *session {
	p := h.part(token)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.sessions[token]
}

// remove forgets the token, and returns which session was to be told.
func (h holders) remove(token int64) *session {
	p := h.part(token)
	p.mu.Lock()
	defer p.mu.Unlock()
	x := p.sessions[token]
	delete(p.sessions, token)
	return x
}

// leave forgets the token if x is the session to be told.
func (h holders) leave(token int64, x *session) {
	p := h.part(token)
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.sessions[token] == x {
		delete(p.sessions, token)
	}
}
