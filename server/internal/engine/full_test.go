package engine_test

import (
	"log/slog"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/engine"
	"github.com/lockserver/lockserver/server/internal/lock"
)

// boundedStore is a store that says when it is full.
type boundedStore struct {
	*testStore
	room    sync.Mutex
	full    bool
	changed chan struct{}
}

func (s *boundedStore) Full() (bool, <-chan struct{}) {
	s.room.Lock()
	defer s.room.Unlock()
	return s.full, s.changed
}

func (s *boundedStore) say(full bool) {
	s.room.Lock()
	s.full = full
	close(s.changed)
	s.changed = make(chan struct{})
	s.room.Unlock()
	synctest.Wait()
}

func runBounded(t *testing.T, test func(t *testing.T, s *system, say func(full bool))) {
	synctest.Test(t, func(t *testing.T) {
		inner := newStore()
		bounded := &boundedStore{testStore: inner, changed: make(chan struct{})}
		e, err := engine.Open(t.Context(), engine.Config{Store: bounded, Bounds: bounds, Logger: slog.New(slog.DiscardHandler)})
		require.NoError(t, err)
		defer func() { require.NoError(t, e.Close(t.Context())) }()
		test(t, &system{Engine: e, t: t, store: inner}, bounded.say)
	})
}

// While the store is full nothing is put into it, and all that only deletes goes on.
func TestFullStore(t *testing.T) {
	runBounded(t, func(t *testing.T, s *system, say func(bool)) {
		held := s.acquire(lock.Request{Resource: "held", Owner: "a", ID: "1", Expire: time.Minute}).is(lock.Granted)
		s.acquire(lock.Request{Resource: "short", Owner: "a", Expire: time.Second}).is(lock.Granted)
		s.take("evicted", "a")
		require.False(t, s.Full())
		say(true)
		require.True(t, s.Full())
		puts := s.store.puts()

		s.acquire(lock.Request{Resource: "new", Owner: "a"}).is(lock.StorageFull)
		s.acquire(lock.Request{Resource: "new", Owner: "a", ID: "2", Wait: time.Minute}).is(lock.StorageFull)
		s.show("new").is(lock.NotFound)
		s.acquire(lock.Request{Resource: "held", Owner: "b"}).is(lock.Locked)
		same := s.acquire(lock.Request{Resource: "held", Owner: "a", ID: "1", Expire: time.Minute}).is(lock.Granted)
		require.Equal(t, held.Token, same.Token, "a grant that is stored is told again")

		ref := lock.Ref{Resource: "held", Owner: "a", ID: "1"}
		time.Sleep(10 * time.Second)
		require.Equal(t, time.Minute, s.renew(ref, 0).is(lock.Granted).ExpiresIn, "its record stays as it is")
		require.Equal(t, time.Minute, s.renew(ref, time.Second).is(lock.Granted).ExpiresIn)
		s.renew(ref, time.Hour).is(lock.StorageFull)
		require.Equal(t, time.Minute, s.renew(ref, 0).is(lock.Granted).ExpiresIn, "what was refused has changed nothing")
		s.show("short").is(lock.NotFound)
		s.evict("evicted").is(lock.ForceReleased)
		s.release(ref).is(lock.Released)
		require.Equal(t, puts, s.store.puts())
		require.Empty(t, s.store.after().records, "what was given back is durable")

		say(false)
		require.False(t, s.Full())
		s.take("new", "a")
	})
}

// Those who wait keep waiting in their order while the store is full, and are served once it has room.
func TestWaitersOfAFullStore(t *testing.T) {
	runBounded(t, func(t *testing.T, s *system, say func(bool)) {
		const resources = 600 // more than are looked at in one go
		var waiters []*call
		for i := range resources {
			s.take(owner(i), "a")
			waiters = append(waiters, s.acquire(lock.Request{Resource: owner(i), Owner: "b", Wait: time.Minute}))
		}
		say(true)
		late := s.acquire(lock.Request{Resource: owner(0), Owner: "c", Wait: time.Minute})
		short := s.acquire(lock.Request{Resource: owner(0), Owner: "d", ID: "1", Wait: time.Second})
		gone := s.acquire(lock.Request{Resource: owner(1), Owner: "c", Wait: time.Minute})
		s.Leave(waiters[1].ticket)
		for i := range resources {
			s.release(lock.Ref{Resource: owner(i), Owner: "a"}).is(lock.Released)
		}
		s.acquire(lock.Request{Resource: owner(0), Owner: "e"}).is(lock.Locked)
		for _, w := range waiters {
			w.pending()
		}
		time.Sleep(2 * time.Second)
		require.Equal(t, 3, short.is(lock.Queued).Position)
		require.Empty(t, s.store.after().records)

		say(false)
		for i, w := range waiters {
			if i == 1 {
				gone.is(lock.Granted)
			} else {
				w.is(lock.Granted)
			}
		}
		late.pending()
		s.release(lock.Ref{Resource: owner(0), Owner: "b"}).is(lock.Released)
		late.is(lock.Granted)
	})
}
