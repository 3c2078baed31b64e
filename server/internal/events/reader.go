package events

import (
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// reader follows the events that it has chosen.
type reader struct {
	hub    *Hub
	want   wire.EventQuery
	begin  int64 // of the ring that it reads; another has nothing for it
	next   int64 // the number of the event that it reads next
	missed int64 // events that it is to be told of; -1 if nobody knows how many
	ended  <-chan struct{}
	batch  [64]wire.Event
}

// join makes a reader that goes on behind the event with the number last, as the header says it; "" for what happens from now on.
func (h *Hub) join(want wire.EventQuery, last string) (*reader, *wire.Problem) {
	h.mu.Lock()
	defer h.mu.Unlock()
	switch {
	case h.source == nil:
		return nil, wire.Loading()
	case h.draining:
		return nil, &wire.Problem{Code: wire.Draining, Detail: "the server shuts down", Reason: "draining"}
	case h.readers >= h.cfg.MaxReaders:
		return nil, &wire.Problem{Code: wire.TooManyWaiters, Detail: "as many read events as may (--max-event-readers); ask again later"}
	}
	if h.idle != nil {
		h.idle.Stop()
	}
	h.readers++
	if slices.Contains(want.Kinds, lock.EventRenewed) {
		if h.renewals++; h.renewals == 1 && h.sub != nil {
			h.sub.Want(h.kinds()...)
		}
	}
	h.watch()
	r := &reader{hub: h, want: want, begin: h.ring.begin, next: h.ring.next, ended: h.ended}
	if last != "" {
		r.resume(last)
	}
	return r, nil
}

// resume goes back to what followed the event with the number last. If that is not kept, the reader gets all that is.
func (r *reader) resume(last string) {
	kept := &r.hub.ring
	n, err := strconv.ParseInt(last, 10, 64)
	switch {
	case err != nil || n < kept.begin-1 || n >= kept.next:
		r.missed = -1
	case n < kept.oldest-1:
		r.miss(kept.oldest - 1 - n)
	default:
		r.next = n + 1
		return
	}
	r.next = kept.oldest
}

// miss counts events that the reader has missed.
func (r *reader) miss(n int64) {
	if r.missed >= 0 {
		r.missed += n
	}
	r.hub.missed += uint64(n)
}

// leave ends the reader. If it is the last, the engine is watched for a while longer, for a reader that comes back.
func (r *reader) leave() {
	h := r.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	h.readers--
	if slices.Contains(r.want.Kinds, lock.EventRenewed) {
		if h.renewals--; h.renewals == 0 && h.sub != nil {
			h.sub.Want(h.kinds()...)
		}
	}
	switch {
	case h.readers > 0:
		return
	case h.source == nil:
		h.unwatch()
		return
	case h.always():
		return
	}
	h.idle = time.AfterFunc(h.cfg.Linger, func() {
		h.mu.Lock()
		defer h.mu.Unlock()
		if h.readers == 0 {
			h.unwatch()
		}
	})
}

// read appends the next events that the reader wants to b, as a stream has them, until b is as long as most, or longer by less than an
// event. If it has come to the end of what there is, it returns a channel that is closed when there is more.
func (r *reader) read(b []byte, most int) ([]byte, <-chan struct{}) {
	for len(b) < most {
		n, news := r.take()
		if r.missed != 0 {
			b = appendGap(b, r.next-int64(n)-1, r.missed)
			r.missed = 0
		}
		for i := range r.batch[:n] {
			if len(b) >= most {
				r.next -= int64(n - i) // these are for the next time
				break
			}
			switch e := &r.batch[i]; {
			case e.Kind == 0:
				b = appendGap(b, e.Number, int64(e.Lasted))
			case r.wants(e):
				b = appendEvent(b, e)
			}
		}
		if news != nil {
			return b, news
		}
	}
	return b, nil
}

// take copies the next events of all, and counts those that are not kept any more. If there is none, it returns a channel that is closed
// when there is one.
func (r *reader) take() (n int, news <-chan struct{}) {
	h := r.hub
	h.mu.Lock()
	defer h.mu.Unlock()
	if r.begin != h.ring.begin {
		h.awaited = true
		return 0, h.news
	}
	if first := h.ring.oldest; r.next < first {
		r.miss(first - r.next)
		r.next = first
	}
	n = h.ring.copy(r.batch[:], r.next)
	r.next += int64(n)
	if n > 0 {
		return n, nil
	}
	h.awaited = true
	return 0, h.news
}

func (r *reader) wants(e *wire.Event) bool {
	return slices.Contains(r.want.Kinds, e.Kind) && strings.HasPrefix(e.Resource, r.want.Prefix) &&
		(r.want.Resource == "" || e.Resource == r.want.Resource)
}
