package disk

import "sync"

// failure is the first error after which the store cannot be used any more.
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

// set fails the store, unless it has failed already, and returns why it failed.
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

// abandon also gives up the database, which cannot be closed any more.
func (f *failure) abandon(err error) error {
	err = f.set(err)
	f.freeze.Do(func() { close(f.frozen) })
	return err
}

// halt is abandon for Pebble's own goroutines. It never returns. Pebble would ignore some errors, retry for ever after others, and end
// the process over the rest, so it must not see them. That is why each call of Pebble runs on its own goroutine, and its caller waits
// for it or for the failure; see await.
func (f *failure) halt(err error) {
	_ = f.abandon(err)
	select {}
}

// await runs work, and returns when it is done or the database is abandoned. It does not begin work on an abandoned database: a commit
// may still be under way there, and Pebble panics if it is closed during one.
func await[T any](f *failure, work func() (T, error)) (result T, err error) {
	select {
	case <-f.frozen:
		return result, f.get()
	default:
	}
	done := make(chan func() (T, error), 1)
	go func() {
		result, err := work()
		done <- func() (T, error) { return result, err }
	}()
	select {
	case returned := <-done:
		return returned()
	case <-f.frozen:
		return result, f.get()
	}
}
