package simulate_test

import (
	"iter"
	"slices"
	"sync"
	"time"

	hosts "github.com/lockserver/lockserver/server/internal/host"
)

// host is where one simulated server runs: its time stands still until the simulator moves it, and of its strands one runs at a time,
// when the simulator says so.
type host struct {
	clock    *clock
	boot     time.Time // wall clock when clock.now was 0, as this server sees it
	alarms   []*alarm
	strands  []*strand
	current  *strand
	about    *tunnel         // what runs now, and what it begins, is about it; nil: about none
	standing int             // how many strands there are always
	commits  *strand         // the committer; nil: there is none
	work     <-chan struct{} // what the committer waits for
	gathers  bool            // it waits for more to do, for a while
}

// clock is the time of all servers, in nanoseconds.
type clock struct{ now int64 }

func (h *host) Now() time.Time                  { return h.boot.Add(time.Duration(h.clock.now)) }
func (h *host) Since(t time.Time) time.Duration { return h.Now().Sub(t) }

func (h *host) AfterFunc(d time.Duration, f func()) hosts.Alarm {
	a := &alarm{host: h, ring: f}
	a.Reset(d)
	h.alarms = append(h.alarms, a)
	return a
}

// alarm goes off when the simulator says so, if it is due: as late as a busy machine may let it.
type alarm struct {
	host *host
	ring func()
	at   int64 // 0: not set
}

func (a *alarm) Reset(d time.Duration) bool {
	set := a.at != 0
	a.at = a.host.clock.now + max(int64(d), 0)
	return set
}

func (a *alarm) Stop() bool {
	set := a.at != 0
	a.at = 0
	if i := slices.Index(a.host.alarms, a); i > 0 || i == 0 && a.host.commits == nil { // the first one of an engine is set again
		a.host.alarms = slices.Delete(a.host.alarms, i, i+1)
	}
	return set
}

func (a *alarm) due() bool { return a.at != 0 && a.at <= a.host.clock.now }

// strand is work that goes on beside other work. It runs from one yield to the next.
type strand struct {
	resume func() (struct{}, bool)
	yield  func(struct{}) bool
	ended  bool
	about  *tunnel
}

// Go makes a strand, which runs only when it is resumed.
func (h *host) Go(f func()) {
	s := &strand{about: h.about}
	s.resume, _ = iter.Pull(func(yield func(struct{}) bool) {
		s.yield = yield
		f()
	})
	h.strands = append(h.strands, s)
}

// run resumes a strand until it yields or ends.
func (h *host) run(s *strand) {
	if s.ended {
		return
	}
	before := h.about
	h.current, h.about = s, s.about
	_, more := s.resume()
	h.current, h.about = nil, before
	s.ended = !more
}

// Yield lets the simulator go on, if a strand runs. What the simulator runs itself is not interrupted.
func (h *host) Yield() {
	if h.current != nil {
		h.current.yield(struct{}{})
	}
}

// Wait prefers the first of several that are ready, so that it is known which one it takes.
func (h *host) Wait(a, b, c, d <-chan struct{}) int {
	if h.current == h.commits {
		h.work, h.gathers = a, d != nil
	}
	for {
		for i, ready := range [...]<-chan struct{}{a, b, c, d} {
			select {
			case <-ready:
				return i
			default:
			}
		}
		h.Yield()
	}
}

// Cond is a condition that a strand waits for. What the simulator runs itself finds it true at once.
func (h *host) Cond(l sync.Locker) hosts.Cond { return &cond{host: h, lock: l} }

type cond struct {
	host *host
	lock sync.Locker
	told int // how often
}

func (c *cond) Broadcast() { c.told++ }

func (c *cond) Wait() {
	told := c.told
	c.lock.Unlock()
	for c.told == told {
		c.host.Yield()
	}
	c.lock.Lock()
}

// tidy forgets strands that have ended, but not the committer.
func (h *host) tidy() {
	kept := h.strands[:0]
	for _, s := range h.strands {
		if !s.ended || s == h.commits {
			kept = append(kept, s)
		}
	}
	clear(h.strands[len(kept):])
	h.strands = kept
}
