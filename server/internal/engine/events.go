package engine

import (
	"context"
	"slices"
	"sync"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// Subscription is a queue of events that are durable, for one reader. The queue is bounded, as the engine waits for nobody: what finds
// no room in it is dropped, and counted. A callback would have to keep that promise itself.
type Subscription struct {
	engine *Engine
	kinds  []lock.EventKind
	most   int

	mu      sync.Mutex
	events  []lock.Event
	read    []lock.Event // what the reader got last
	dropped int
	ended   bool
	wake    chan struct{} // has room for one
}

// Subscribe returns a queue of no more than so many events of these kinds, from now on. The engine's end ends it, or its Close.
func (e *Engine) Subscribe(most int, kinds ...lock.EventKind) *Subscription {
	s := &Subscription{engine: e, kinds: kinds, most: most, wake: make(chan struct{}, 1)}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.err != nil {
		s.end()
		return s
	}
	e.subscriptions[s] = struct{}{}
	e.watch()
	return s
}

// Close ends the subscription, also while Next waits.
func (s *Subscription) Close() {
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	delete(s.engine.subscriptions, s)
	s.engine.watch()
	s.end()
}

// watch makes the table note what somebody wants to know.
func (e *Engine) watch() {
	var kinds []lock.EventKind
	for s := range e.subscriptions {
		kinds = append(kinds, s.kinds...)
	}
	e.table.Watch(kinds...)
}

// Next waits for events and returns them, in their order, and how many were dropped behind them. They are valid until the next call.
// It says false once the subscription has ended and all is read, or with the context.
func (s *Subscription) Next(ctx context.Context) (events []lock.Event, dropped int, ok bool) {
	for {
		s.mu.Lock()
		if len(s.events) > 0 {
			clear(s.read)
			events, dropped = s.events, s.dropped
			s.events, s.read, s.dropped = shrink(s.read), events, 0
			s.mu.Unlock()
			return events, dropped, true
		}
		ended := s.ended
		s.mu.Unlock()
		if ended {
			return nil, 0, false
		}
		select {
		case <-s.wake:
		case <-ctx.Done():
			return nil, 0, false
		}
	}
}

func (s *Subscription) end() {
	s.mu.Lock()
	s.ended = true
	s.mu.Unlock()
	s.ring()
}

func (s *Subscription) ring() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// tell gives the batch's events to those who want them.
func (e *Engine) tell(b *batch) {
	if len(b.Events) == 0 {
		return
	}
	for s := range e.subscriptions {
		s.add(b.Events)
	}
	b.resetEvents()
}

func (s *Subscription) add(events []lock.Event) {
	s.mu.Lock()
	for i := range events {
		switch {
		case !slices.Contains(s.kinds, events[i].Kind):
		case len(s.events) == s.most:
			s.dropped++
		default:
			s.events = append(s.events, events[i])
		}
	}
	s.mu.Unlock()
	s.ring()
}

// logged is how many events may wait to be logged.
const logged = 1 << 16

// logEvents writes a line for each event that is worth one, until the engine ends.
func (e *Engine) logEvents(events *Subscription) {
	defer close(e.eventsLogged)
	for {
		batch, dropped, ok := events.Next(context.Background())
		if !ok {
			return
		}
		for i := range batch {
			switch x := &batch[i]; x.Kind {
			case lock.EventExpired:
				e.log.Debug("lease expired", "resource", x.Resource, "owner", x.Owner, "token", x.Token)
			case lock.EventEvicted:
				e.log.Info("lock evicted", "resource", x.Resource, "owner", x.Owner, "token", x.Token, "held_for", x.Lasted, "by", x.By)
			}
		}
		if dropped > 0 {
			e.log.Warn("more happened than could be logged", "events", dropped)
		}
	}
}
