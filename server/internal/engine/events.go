package engine

import (
	"context"
	"log/slog"
	"slices"
	"sync/atomic"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// Subscription is a queue of durable events for one reader. The engine waits for no reader, so the queue is bounded, and events that
// find it full are dropped and counted. A callback could not be trusted to return at once.
type Subscription struct {
	Events  <-chan []lock.Event // in their order; closed at the end of the engine or by Close
	Dropped atomic.Int64

	engine *Engine
	kinds  kindSet
	queue  chan []lock.Event // nil for those of Follow
	more   chan struct{}
	inbox  []lock.Event
	room   int
}

// kindSet has a bit for each kind.
type kindSet uint16

func newKindSet(kinds []lock.EventKind) (s kindSet) {
	for _, k := range kinds {
		s |= 1 << k
	}
	return s
}

func (s kindSet) has(k lock.EventKind) bool { return s&(1<<k) != 0 }

// of returns a copy of the events whose kind is in the set.
func (s kindSet) of(events []lock.Event) (wanted []lock.Event) {
	n := 0
	for i := range events {
		if s.has(events[i].Kind) {
			n++
		}
	}
	if n == 0 {
		return nil
	}
	wanted = make([]lock.Event, 0, n)
	for i := range events {
		if s.has(events[i].Kind) {
			wanted = append(wanted, events[i])
		}
	}
	return wanted
}

// Subscribe returns a subscription to events of the given kinds that happen from now on. It has room for as many batches of events
// as given.
func (e *Engine) Subscribe(batches int, kinds ...lock.EventKind) *Subscription {
	queue := make(chan []lock.Event, batches)
	s := &Subscription{Events: queue, engine: e, kinds: newKindSet(kinds), queue: queue}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.subscriptions = append(e.subscriptions, s)
	if e.err != nil {
		e.unsubscribe(s)
	}
	e.watch()
	return s
}

// Follow returns a subscription for a reader that wants very many events. Instead of batches in a channel it has an inbox with room for as
// many events as given, from which the reader takes all at once.
func (e *Engine) Follow(events int, kinds ...lock.EventKind) *Subscription {
	s := &Subscription{engine: e, kinds: newKindSet(kinds), more: make(chan struct{}, 1), room: events}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.subscriptions = append(e.subscriptions, s)
	if e.err != nil {
		e.unsubscribe(s)
	}
	e.watch()
	return s
}

// More has a value if there is something to take. It is closed at the end of the engine or by Close.
func (s *Subscription) More() <-chan struct{} { return s.more }

// Take returns what is in the inbox, which is then an empty spare.
func (s *Subscription) Take(spare []lock.Event) []lock.Event {
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	events := s.inbox
	s.inbox = spare[:0]
	return events
}

// put puts the events that are wanted into the inbox.
func (s *Subscription) put(events []lock.Event) {
	put := false
	for i := range events {
		switch {
		case !s.kinds.has(events[i].Kind):
		case len(s.inbox) >= s.room:
			s.Dropped.Add(1)
		default:
			s.inbox = append(s.inbox, events[i])
			put = true
		}
	}
	if put {
		select {
		case s.more <- struct{}{}:
		default:
		}
	}
}

// Want changes the kinds of the events to those that are given, from now on.
func (s *Subscription) Want(kinds ...lock.EventKind) {
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	s.kinds = newKindSet(kinds)
	s.engine.watch()
}

// Close ends the subscription.
func (s *Subscription) Close() {
	s.engine.mu.Lock()
	defer s.engine.mu.Unlock()
	s.engine.unsubscribe(s)
	s.engine.watch()
}

func (e *Engine) unsubscribe(s *Subscription) {
	if i := slices.Index(e.subscriptions, s); i >= 0 {
		e.subscriptions = slices.Delete(e.subscriptions, i, i+1)
		if s.queue == nil {
			close(s.more)
		} else {
			close(s.queue)
		}
	}
}

// watch makes the table note the kinds of events that somebody wants.
func (e *Engine) watch() {
	var wanted kindSet
	for _, s := range e.subscriptions {
		wanted |= s.kinds
	}
	kinds := slices.DeleteFunc(lock.EventKinds(), func(k lock.EventKind) bool { return !wanted.has(k) })
	e.table.Watch(kinds...)
}

// tell passes the events of b on to those who want them.
func (e *Engine) tell(b *batch) {
	if len(b.Events) == 0 {
		return
	}
	for _, s := range e.subscriptions {
		if s.queue == nil {
			s.put(b.Events)
			continue
		}
		wanted := s.kinds.of(b.Events)
		if wanted == nil {
			continue
		}
		select {
		case s.queue <- wanted:
		default:
			s.Dropped.Add(int64(len(wanted)))
		}
	}
	b.Events = empty(b.Events)
}

// startLog has evictions logged, and expired leases if the level asks for them.
func (e *Engine) startLog(ctx context.Context) {
	var kinds []lock.EventKind
	if e.log.Enabled(ctx, slog.LevelInfo) {
		kinds = append(kinds, lock.EventEvicted)
	}
	if e.log.Enabled(ctx, slog.LevelDebug) {
		kinds = append(kinds, lock.EventExpired)
	}
	if kinds == nil {
		close(e.logged)
		return
	}
	s := e.Subscribe(1024, kinds...)
	e.host.Go(func() { e.logEvents(s) })
}

// logEvents logs the events of the subscription until it ends.
func (e *Engine) logEvents(s *Subscription) {
	defer close(e.logged)
	for events := range s.Events {
		for i := range events {
			if x := &events[i]; x.Kind == lock.EventExpired {
				e.log.Debug("lease expired", "resource", x.Resource, "owner", x.Owner, "token", x.Token)
			} else {
				e.log.Info("lock evicted", "resource", x.Resource, "owner", x.Owner, "token", x.Token, "held_for", x.Lasted, "by", x.By)
			}
		}
		if n := s.Dropped.Swap(0); n > 0 {
			e.log.Warn("events not logged: too many at once", "events", n)
		}
	}
}
