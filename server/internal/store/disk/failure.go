package disk

import "sync"

// failure is the first error after which the store is of no more use.
type failure struct {
	fail   sync.Once
	err    error
	lost   chan struct{}
	freeze sync.Once
	frozen chan struct{}
}

func newFailure() *failure {
	return &failure{lost: make(chan struct{}), frozen: make(chan struct{})}
}

// set fails the store, unless it has failed, and returns what it failed of.
func (f *failure) set(err error) error {
	f.fail.Do(func() {
		f.err = err
		close(f.lost)
	})
	return f.err
}

func (f *failure) get() error {
	select {
	case <-f.lost:
		return f.err
	default:
		return nil
	}
}

// abandon also leaves the database as it is: it can't be closed any more.
func (f *failure) abandon(err error) error {
	err = f.set(err)
	f.freeze.Do(func() { close(f.frozen) })
	return err
}

// halt is abandon for Pebble's own goroutines: it never returns. Pebble would go on from some errors as if there were none, try
// again for ever after others, and end the process over the rest. So it must not see them, and whoever needs Pebble to
// do something has it done on a goroutine of its own, and waits for it or for the failure: see await.
func (f *failure) halt(err error) {
	_ = f.abandon(err)
	select {}
}

// await runs work, and does not wait for it any longer once the database is abandoned. Work that comes later is not begun: a
// commit that was given up may still be under way, and Pebble panics if it is closed under one.
func await[T any](f *failure, work func() (T, error)) (result T, err error) {
	select {
	case <-f.frozen:
		return result, f.get()
	default:
	}
	type outcome struct {
		result T
		err    error
	}
	done := make(chan outcome, 1)
	go func() {
		result, err := work()
		done <- outcome{result, err}
	}()
	select {
	case o := <-done:
		return o.result, o.err
	case <-f.frozen:
		return result, f.get()
	}
}
