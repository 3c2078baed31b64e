// Package lockservertest makes a client's clocks and time limits small or wrong on purpose. It is for tests of the SDK and for the
// conformance suite; programs have no use for it, and it may change at any time.
package lockservertest

import (
	"sync"
	"time"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/tuning"
)

// Tuning lists the clocks and time limits of a client. A zero field keeps its default.
type Tuning = tuning.Tuning

// Instant is one reading of both clocks.
type Instant = tuning.Instant

// WithTuning applies t to a client.
func WithTuning(t Tuning) lockserver.Option { return lockserver.Tuned(t) }

// Clock follows the machine's clocks at a distance that a test can change while locks are held.
type Clock struct {
	system *tuning.SystemClock

	mu         sync.Mutex
	mono, wall time.Duration
}

// NewClock returns a clock that agrees with the machine's.
func NewClock() *Clock { return &Clock{system: tuning.NewSystemClock()} }

// Now reads both clocks.
func (c *Clock) Now() Instant {
	now := c.system.Now()
	c.mu.Lock()
	defer c.mu.Unlock()
	return Instant{Mono: now.Mono + c.mono, Wall: now.Wall + c.wall}
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
