package engine_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// Draining answers who waits and who comes; holders go on.
func TestDrain(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		held := s.acquire(lock.Request{Resource: "r", Owner: "a", Expire: time.Minute, ID: "1"}).is(lock.Granted)
		plain := s.acquire(lock.Request{Resource: "r", Owner: "b", Wait: time.Minute})
		withID := s.acquire(lock.Request{Resource: "r", Owner: "c", ID: "1", Wait: time.Minute})
		s.store.hold()
		committing := s.acquire(lock.Request{Resource: "r2", Owner: "a"})
		s.Drain()
		plain.is(lock.Draining)
		withID.is(lock.Draining)
		committing.pending()
		s.store.free()
		committing.is(lock.Granted) // what is in flight is finished

		s.acquire(lock.Request{Resource: "r3", Owner: "a"}).is(lock.Draining)
		s.acquire(lock.Request{Resource: "r", Owner: "a", ID: "1", Expire: time.Minute}).is(lock.Draining)
		require.Empty(t, s.show("r").is(lock.Found).Detail.Queue)
		s.renew(lock.Ref{Resource: "r", Owner: "a", Token: held.Token}, 0).is(lock.Granted)
		s.release(lock.Ref{Resource: "r", Owner: "a", Token: held.Token}).is(lock.Released)
		require.Zero(t, s.Stats().Waiters)
	})
}
