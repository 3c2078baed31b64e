package events

import (
	"slices"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// History appends what happened last to the resource that is asked for.
func (h *Hub) History(b []byte, f *wire.Fields) ([]byte, *wire.Problem) {
	if h.cfg.History == 0 {
		return b, &wire.Problem{Code: wire.NotFound, Detail: "this server keeps no history; --history makes it keep some"}
	}
	next, ok := h.position()
	if !ok {
		return b, wire.Loading()
	}
	resource := f.Text(wire.FieldResource)
	events, since := h.last(resource, next, int(f.Number(wire.FieldPageLimit)))
	return wire.AppendHistory(b, resource, since, next-1, events), nil
}

// Recall gives the history what happened before the server began, the newest at the end. It must be called before Serve.
func (h *Hub) Recall(past []wire.Event) { h.past = past }

// position returns the number of the next event, and false between terms.
func (h *Hub) position() (int64, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.ring.next, h.source != nil
}

// last returns the last events of the resource before the number next, most of them, but for renewals, which are kept only while
// somebody reads them. It also returns the time from which on all that happened is kept.
func (h *Hub) last(resource string, next int64, most int) (events []wire.Event, since time.Time) {
	for more := true; more; {
		more, next = h.back(next, func(e *wire.Event) bool {
			if e.Resource == resource && e.Kind != 0 && e.Kind != lock.EventRenewed {
				events = append(events, *e)
			}
			return len(events) < most
		})
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for i := len(h.past) - 1; i >= 0 && len(events) < most; i-- {
		if h.past[i].Resource == resource {
			events = append(events, h.past[i])
		}
	}
	slices.Reverse(events)
	if len(h.past) > 0 {
		return events, h.past[0].Time
	}
	return events, h.ring.since()
}

// back walks from the number next towards the oldest event, until visit returns false, and returns where it is. After some events it
// lets others in.
func (h *Hub) back(next int64, visit func(*wire.Event) bool) (more bool, at int64) {
	const budget = 4096
	h.mu.Lock()
	defer h.mu.Unlock()
	for range budget {
		if next <= h.ring.oldest {
			return false, next
		}
		next--
		if !visit(h.ring.at(next)) {
			return false, next
		}
	}
	return true, next
}
