package engine

import (
	"runtime"
	"time"
)

// Host is what an engine needs of the machine that it runs on: the time, and goroutines. The simulator has one of its own, where it
// decides what happens when.
type Host interface {
	// Now, Since and AfterFunc are those of package time.
	Now() time.Time
	Since(t time.Time) time.Duration
	AfterFunc(d time.Duration, f func()) Alarm

	// Go runs f beside all else.
	Go(f func())

	// Wait waits until one of the channels has a value or is closed, and returns its index. One that is nil never has.
	Wait(a, b, c, d <-chan struct{}) int

	// Yield lets others in.
	Yield()
}

// Alarm is a [time.Timer] that calls a function.
type Alarm interface {
	Reset(d time.Duration) bool
	Stop() bool
}

// machine is the host of all engines but those that are simulated.
type machine struct{}

func (machine) Now() time.Time                            { return time.Now() }
func (machine) Since(t time.Time) time.Duration           { return time.Since(t) }
func (machine) AfterFunc(d time.Duration, f func()) Alarm { return time.AfterFunc(d, f) }
func (machine) Go(f func())                               { go f() }
func (machine) Yield()                                    { runtime.Gosched() }

func (machine) Wait(a, b, c, d <-chan struct{}) int {
	select {
	case <-a:
		return 0
	case <-b:
		return 1
	case <-c:
		return 2
	case <-d:
		return 3
	}
}
