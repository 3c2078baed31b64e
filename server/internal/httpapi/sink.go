package httpapi

import (
	"context"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// sink takes the one answer of one operation, for the goroutine of the request to wait for.
type sink struct {
	ch chan lock.Answer
}

func newSink() *sink { return &sink{ch: make(chan lock.Answer, 1)} }

// Answer is called under the engine's mutex. There is room for the one answer, so it never blocks.
func (s *sink) Answer(_ uint64, a *lock.Answer) { s.ch <- *a }

// ask starts an operation and waits for its answer. ok is false if the context ended before. A sink that was left behind may still
// get its answer, so it is not used again.
func (a *API) ask(ctx context.Context, start func(to lock.Reply)) (answer lock.Answer, ok bool) {
	s := a.sinks.Get().(*sink)
	start(lock.Reply{To: s})
	select {
	case answer = <-s.ch:
		a.sinks.Put(s)
		return answer, true
	case <-ctx.Done():
		return lock.Answer{}, false
	}
}
