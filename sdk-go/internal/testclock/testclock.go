// Package testclock has clocks that tests set wrong on purpose.
package testclock

import (
	"sync"
	"time"
)

// Clock follows the machine's clocks at a distance that can change while locks are held.
type Clock struct {
	start time.Time

	mu         sync.Mutex
	mono, wall time.Duration
}

// New returns a clock that agrees with the machine's.
func New() *Clock { return &Clock{start: time.Now()} }

// Now reads both clocks.
func (c *Clock) Now() (mono, wall time.Duration) {
	now := time.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return now.Sub(c.start) + c.mono, time.Duration(now.UnixNano()) + c.wall
}

// ShiftMonotonic moves the monotonic clock by d, as if that much time had passed.
func (c *Clock) ShiftMonotonic(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.mono += d
}

// ShiftWall moves the wall clock by d, as setting it does, or as waking from a suspension does.
func (c *Clock) ShiftWall(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.wall += d
}
