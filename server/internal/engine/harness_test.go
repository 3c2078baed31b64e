package engine_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/engine"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
)

var bounds = lock.Bounds{MaxLocks: 100_000, MaxWaiters: 100_000, MaxRemembered: 100_000, MaxWait: time.Minute}

// testStore is a store whose commits the test controls: held back, failed, landed in part. What is durable survives the engine.
type testStore struct {
	mu       sync.Mutex
	records  map[int64]lock.Record
	last     int64
	largest  int           // changes of a commit
	put      int           // records that were put
	gate     chan struct{} // while not nil, commits wait for it to be closed
	takes    time.Duration // every commit takes so long
	fails    error         // the next commit fails,
	lands    int           // after this many of its groups have landed
	lost     chan struct{}
	lostWith error
}

func newStore() *testStore {
	return &testStore{records: map[int64]lock.Record{}, lost: make(chan struct{})}
}

func (s *testStore) Load(_ context.Context, yield func(lock.Record) error) (int64, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, rec := range s.records {
		if err := yield(rec); err != nil {
			return 0, err
		}
	}
	return s.last, nil
}

func (s *testStore) Commit(_ context.Context, changes []lock.Change) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if gate := s.gate; gate != nil {
		s.mu.Unlock()
		<-gate
		s.mu.Lock()
	}
	if takes := s.takes; takes > 0 {
		s.mu.Unlock()
		time.Sleep(takes)
		s.mu.Lock()
	}
	s.largest = max(s.largest, len(changes))
	if !changes[len(changes)-1].Last {
		return errors.New("the last change does not end its group")
	}
	groups := 0
	for _, c := range changes {
		if s.fails != nil && groups == s.lands {
			break
		}
		if c.Delete {
			delete(s.records, c.Record.Token)
		} else {
			s.records[c.Record.Token] = c.Record
			s.put++
			s.last = max(s.last, c.Record.Token)
		}
		if c.Last {
			groups++
		}
	}
	return s.fails
}

func (s *testStore) Lost() <-chan struct{} { return s.lost }

func (s *testStore) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.lostWith
}

func (s *testStore) Close() error { return nil }

// slow makes every commit take so long.
func (s *testStore) slow(takes time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.takes, s.largest = takes, 0
}

// puts is how many records were put.
func (s *testStore) puts() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.put
}

// largestCommit is the number of changes of the largest commit since slow.
func (s *testStore) largestCommit() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.largest
}

// hold makes commits wait until free is called.
func (s *testStore) hold() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gate = make(chan struct{})
}

// free lets commits go on.
func (s *testStore) free() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.gate != nil {
		close(s.gate)
		s.gate = nil
	}
}

// step lets the commit that is held go on, and holds the next.
func (s *testStore) step() {
	s.mu.Lock()
	defer s.mu.Unlock()
	close(s.gate)
	s.gate = make(chan struct{})
}

// fail makes the next commit fail after the given number of its groups has landed.
func (s *testStore) fail(lands int) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails, s.lands = errors.New("the disk is on fire"), lands
	return s.fails
}

// lose closes Lost.
func (s *testStore) lose(err error) {
	s.mu.Lock()
	s.lostWith = err
	s.mu.Unlock()
	close(s.lost)
}

// after returns a healthy store with what is durable in this one, as another process would find it.
func (s *testStore) after() *testStore {
	s.mu.Lock()
	defer s.mu.Unlock()
	next := newStore()
	next.records, next.last = maps.Clone(s.records), s.last
	return next
}

// system is an engine under test.
type system struct {
	*engine.Engine
	t     testing.TB
	store *testStore
}

func open(t testing.TB, s *testStore) *system { return openWith(t, s, bounds) }

func openWith(t testing.TB, s *testStore, l lock.Bounds) *system {
	t.Helper()
	e, err := openEngine(s, l)
	require.NoError(t, err)
	t.Cleanup(func() {
		s.free()
		_ = e.Close(context.Background())
	})
	return &system{Engine: e, t: t, store: s}
}

func openEngine(s store.Store, l lock.Bounds) (*engine.Engine, error) {
	return engine.Open(context.Background(), engine.Config{Store: s, Bounds: l, Logger: slog.New(slog.DiscardHandler)})
}

// run runs a test in a bubble of synctest, on an engine of its own.
func run(t *testing.T, test func(t *testing.T, s *system)) {
	synctest.Test(t, func(t *testing.T) {
		test(t, open(t, newStore()))
	})
}

// call is one operation, and the sink for its answer.
type call struct {
	t      testing.TB
	ticket lock.Ticket
	mu     sync.Mutex
	answer *lock.Answer
	came   chan struct{} // closed when the answer comes, if not nil
}

func (c *call) Answer(_ uint64, a *lock.Answer) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answer != nil {
		c.t.Errorf("a second answer: %+v after %+v", *a, *c.answer)
	}
	copied := *a
	c.answer = &copied
	if c.came != nil {
		close(c.came)
	}
}

// now waits until nothing moves any more, and returns the answer, or the zero Answer if none has come.
func (c *call) now() lock.Answer {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answer == nil {
		return lock.Answer{}
	}
	return *c.answer
}

// is fails the test unless an answer with the code has come.
func (c *call) is(code lock.Code) lock.Answer {
	c.t.Helper()
	a := c.now()
	require.Equal(c.t, code, a.Code, "%+v", a)
	return a
}

// pending fails the test if an answer has come.
func (c *call) pending() {
	c.t.Helper()
	require.Zero(c.t, c.now().Code, "answered too early")
}

func (s *system) acquire(req lock.Request) *call {
	c := &call{t: s.t}
	c.ticket = s.Acquire(&req, lock.Reply{To: c})
	return c
}

// take takes a lock that is free.
func (s *system) take(resource, owner string) lock.Answer {
	s.t.Helper()
	return s.acquire(lock.Request{Resource: resource, Owner: owner}).is(lock.Granted)
}

func (s *system) release(ref lock.Ref) *call {
	c := &call{t: s.t}
	s.Release(&ref, lock.Reply{To: c})
	return c
}

func (s *system) renew(ref lock.Ref, expire time.Duration) *call {
	c := &call{t: s.t}
	s.Renew(&ref, expire, lock.Reply{To: c})
	return c
}

func (s *system) evict(resource string) *call {
	c := &call{t: s.t}
	s.ForceRelease(resource, 0, "an operator", lock.Reply{To: c})
	return c
}

func (s *system) show(resource string) *call {
	c := &call{t: s.t}
	s.Show(resource, lock.Reply{To: c})
	return c
}

// owner names the n-th of many.
func owner(n int) string { return fmt.Sprintf("owner-%d", n) }
