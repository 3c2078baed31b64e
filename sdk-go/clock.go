package lockserver

import "time"

// instant is one reading of both clocks.
type instant struct {
	mono time.Duration // since an arbitrary start; stands still while the machine is suspended
	wall time.Duration // since 1970; moves when somebody sets the clock
}

// clock tells the time that leases are judged by.
type clock func() (mono, wall time.Duration)

// newSystemClock returns a clock that reads those of the machine.
func newSystemClock() clock {
	start := time.Now()
	return func() (mono, wall time.Duration) {
		now := time.Now()
		return now.Sub(start), time.Duration(now.UnixNano())
	}
}

func (c clock) now() instant {
	mono, wall := c()
	return instant{mono, wall}
}

// add returns the instant d later on both clocks.
func (i instant) add(d time.Duration) instant { return instant{i.mono + d, i.wall + d} }

// until returns the time left until i on the clock that gets there first.
func (i instant) until(now instant) time.Duration { return min(i.mono-now.mono, i.wall-now.wall) }

// later returns, for each clock, the later of the two.
func (i instant) later(j instant) instant { return instant{max(i.mono, j.mono), max(i.wall, j.wall)} }
