// Package host is what the engine and the sessions need of the machine that they run on: the time, and goroutines. The simulator has a
// host of its own, where it decides what happens when.
package host

import (
	"runtime"
	"sync"
	"time"
)

// Host is a machine, or a simulated one.
type Host interface {
	// Now, Since and AfterFunc are those of package time.
	Now() time.Time
	Since(t time.Time) time.Duration
	AfterFunc(d time.Duration, f func()) Alarm

	// Go runs f beside all else.
	Go(f func())

	// Wait waits until one of the channels has a value or is closed, and returns its index. One that is nil never has.
	Wait(a, b, c, d <-chan struct{}) int

	// Cond is [sync.NewCond].
	Cond(l sync.Locker) Cond

	// Yield lets others in.
	Yield()
}

// Alarm is a [time.Timer] that calls a function.
type Alarm interface {
	Reset(d time.Duration) bool
	Stop() bool
}

// Cond is a [sync.Cond].
type Cond interface {
	Wait()
	Broadcast()
}

// Machine is the host of everything but what is simulated.
type Machine struct{}

func (Machine) Now() time.Time                            { return time.Now() }
func (Machine) Since(t time.Time) time.Duration           { return time.Since(t) }
func (Machine) AfterFunc(d time.Duration, f func()) Alarm { return time.AfterFunc(d, f) }
func (Machine) Go(f func())                               { go f() }
func (Machine) Cond(l sync.Locker) Cond                   { return sync.NewCond(l) }
func (Machine) Yield()                                    { runtime.Gosched() }

func (Machine) Wait(a, b, c, d <-chan struct{}) int {
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
