// Package tuning holds what only tests change: clocks and time limits.
package tuning

import "time"

// Instant is one reading of both clocks.
type Instant struct {
	Mono time.Duration // since an arbitrary start; stands still while the machine is suspended
	Wall time.Duration // since 1970; moves when somebody sets the clock
}

// Add returns the instant d later on both clocks.
func (i Instant) Add(d time.Duration) Instant { return Instant{i.Mono + d, i.Wall + d} }

// Until returns the time left until i on the clock that gets there first.
func (i Instant) Until(now Instant) time.Duration { return min(i.Mono-now.Mono, i.Wall-now.Wall) }

// Later returns, for each clock, the later of the two.
func (i Instant) Later(j Instant) Instant { return Instant{max(i.Mono, j.Mono), max(i.Wall, j.Wall)} }

// Clock tells the time that leases are judged by.
type Clock interface{ Now() Instant }

// SystemClock reads the machine's clocks.
type SystemClock struct{ start time.Time }

// NewSystemClock returns a clock whose monotonic reading starts at zero.
func NewSystemClock() *SystemClock { return &SystemClock{time.Now()} }

// Now reads both clocks at once.
func (c *SystemClock) Now() Instant {
	now := time.Now()
	return Instant{Mono: now.Sub(c.start), Wall: time.Duration(now.UnixNano())}
}

// Tuning is what tests may change. A zero field keeps its default.
type Tuning struct {
	Clock          Clock
	Hop            time.Duration // longest wait asked of the server at once; 10 s
	ConnectTimeout time.Duration // 5 s
	AnswerTimeout  time.Duration // beyond the wait that was asked for; 10 s
	CleanupTimeout time.Duration // a release or a cancel in all; 5 s
	CleanupGrace   time.Duration // how long a call outlives its context for the sake of a clean-up; 1 s
	Silence        time.Duration // without any answer, where the caller set no limit; 30 s
	SilenceQueued  time.Duration // the same once queued; 60 s
	BackoffStart   time.Duration // before the second retry; 50 ms
	BackoffCap     time.Duration // longest pause between two retries; 2 s
	WatchTick      time.Duration // longest time between two looks at the clocks while a lease is held; 1 s
	ScopeLease     time.Duration // of a scope or a renewed lock without an expire of its own; 30 s
}

// WithDefaults returns t with every zero field filled in.
func (t Tuning) WithDefaults() Tuning {
	if t.Clock == nil {
		t.Clock = NewSystemClock()
	}
	for _, f := range []struct {
		field *time.Duration
		value time.Duration
	}{
		{&t.Hop, 10 * time.Second},
		{&t.ConnectTimeout, 5 * time.Second},
		{&t.AnswerTimeout, 10 * time.Second},
		{&t.CleanupTimeout, 5 * time.Second},
		{&t.CleanupGrace, time.Second},
		{&t.Silence, 30 * time.Second},
		{&t.SilenceQueued, 60 * time.Second},
		{&t.BackoffStart, 50 * time.Millisecond},
		{&t.BackoffCap, 2 * time.Second},
		{&t.WatchTick, time.Second},
		{&t.ScopeLease, 30 * time.Second},
	} {
		if *f.field <= 0 {
			*f.field = f.value
		}
	}
	return t
}
