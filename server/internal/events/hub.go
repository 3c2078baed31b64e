// Package events lets people watch the locks: it takes the durable events of the engine and hands them to readers, as server-sent
// events (WHATWG HTML, section 9.2).
//
// All readers share one subscription of the engine and one ring of the newest events. A reader is a number in that ring. So the engine
// waits for no reader, a slow one takes no memory, and what it finds overwritten it is told to have missed. While nobody reads, the
// engine is not asked for events.
package events

import (
	"log/slog"
	"sync"
	"time"

	"github.com/lockserver/lockserver/server/internal/engine"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// Config bounds what readers cost.
type Config struct {
	MaxReaders int
	Heartbeat  time.Duration // 0: 15 s
	History    int           // events that are kept although nobody reads; 0: none
	Kept       int           // events that are kept for readers, if there is no history; 0: 16,384
	Linger     time.Duration // how long events are kept for a reader that comes back; 0: 10 s
	Journal    Journal       // gets all events but renewals; nil for none
	Logger     *slog.Logger
}

// Journal keeps events beyond the life of the server. It must not wait.
type Journal interface {
	Event(e *wire.Event)
	Missed(n int64)
}

// Source is what the hub needs of the engine.
type Source interface {
	Follow(events int, kinds ...lock.EventKind) *engine.Subscription
}

const (
	// behind is how many events may wait for the hub.
	behind = 1 << 15
	// collect is how long the hub lets events come together before it looks for more. To wake it for each would cost the engine more than
	// all else that it does for it.
	collect = 2 * time.Millisecond
)

// Hub has all readers. A time of serving begins with Serve and ends with Withdraw.
type Hub struct {
	cfg Config
	log *slog.Logger

	mu       sync.Mutex
	source   Source               // nil between terms
	sub      *engine.Subscription // nil while the engine is not watched
	ring     ring
	past     []wire.Event // what was in the journal at the start, the newest at the end
	readers  int
	renewals int           // readers that want them
	missed   uint64        // events that readers have missed
	news     chan struct{} // closed by the next event, or by the end, if somebody waits for it
	awaited  bool
	ended    chan struct{} // closed at the end of the term, and when it begins to end
	draining bool
	spare    []lock.Event
	idle     *time.Timer // ends the subscription once nobody has read for a while
}

// NewHub makes a hub that has nothing to watch yet.
func NewHub(cfg Config) *Hub {
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = wire.SessionPing
	}
	if cfg.Kept == 0 {
		cfg.Kept = 1 << 14
	}
	if cfg.History > 0 {
		cfg.Kept = cfg.History
	}
	if cfg.Linger == 0 {
		cfg.Linger = lock.PlaceKept
	}
	return &Hub{cfg: cfg, log: cfg.Logger, ring: ring{size: cfg.Kept}, news: make(chan struct{}), ended: make(chan struct{})}
}

// Serve begins a term: the events are now those of s.
func (h *Hub) Serve(s Source) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.source, h.draining, h.ended = s, false, make(chan struct{})
	if h.always() {
		h.watch()
	}
}

// Drain lets every reader take what there is, tells it that the server is shutting down, and refuses new ones.
func (h *Hub) Drain() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sub != nil {
		h.keep()
	}
	h.draining = true
	h.end()
}

// Withdraw ends a term, and with it every reader, once it has taken what there is.
func (h *Hub) Withdraw() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.sub != nil {
		h.keep()
	}
	h.source = nil
	h.end()
	h.unwatch()
}

// end tells every reader to end.
func (h *Hub) end() {
	select {
	case <-h.ended:
	default:
		close(h.ended)
	}
}

// Readers returns how many there are.
func (h *Hub) Readers() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.readers
}

// Kept returns how many events are kept.
func (h *Hub) Kept() int {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ring.len() + len(h.past)
}

// Missed returns how many events readers have missed as they, or the hub, were too slow.
func (h *Hub) Missed() uint64 {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.missed
}

// watch subscribes to the engine, unless that is done.
func (h *Hub) watch() {
	if h.sub != nil {
		return
	}
	h.ring.reset(time.Now())
	h.sub = h.source.Follow(behind, h.kinds()...)
	go h.pump(h.sub)
}

// unwatch ends the subscription, and forgets the events once nobody reads them.
func (h *Hub) unwatch() {
	if h.sub != nil {
		h.sub.Close()
		h.sub = nil
	}
	if h.readers == 0 {
		h.ring.clear()
	}
}

// always reports whether the engine is watched although nobody reads.
func (h *Hub) always() bool { return h.cfg.History > 0 || h.cfg.Journal != nil }

// add keeps one event, and has it in the journal.
func (h *Hub) add(e *lock.Event, now time.Time) {
	kept := h.ring.add(e, now)
	if j := h.cfg.Journal; j != nil && e.Kind != lock.EventRenewed {
		j.Event(kept)
	}
	if over := len(h.past) + h.ring.len() - h.ring.size; over > 0 {
		over = min(over, len(h.past))
		clear(h.past[:over])
		h.past = h.past[over:]
	}
}

// kinds are those that somebody may want.
func (h *Hub) kinds() []lock.EventKind {
	kinds := lock.EventKinds()
	if h.renewals == 0 {
		kinds = kinds[:len(kinds)-1] // renewed, the last
	}
	return kinds
}

// pump keeps the events of a subscription until it ends.
func (h *Hub) pump(sub *engine.Subscription) {
	for range sub.More() {
		h.mu.Lock()
		if h.sub == sub {
			h.keep()
		}
		h.mu.Unlock()
		time.Sleep(collect)
	}
}

// keep keeps the events that have come.
func (h *Hub) keep() {
	now, sub := time.Now(), h.sub
	batch := sub.Take(h.spare)
	defer func() {
		clear(batch) // the names in it may be long
		h.spare = batch
	}()
	for i := range batch {
		h.add(&batch[i], now)
	}
	if n := sub.Dropped.Swap(0); n > 0 {
		h.ring.add(&lock.Event{Lasted: time.Duration(n)}, now)
		if j := h.cfg.Journal; j != nil {
			j.Missed(n)
		}
		h.missed += uint64(n) * uint64(h.readers)
		h.log.Warn("events not told: more came at once than can be queued", "events", n)
	}
	if h.awaited {
		h.awaited = false
		close(h.news)
		h.news = make(chan struct{})
	}
}
