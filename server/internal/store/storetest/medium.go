package storetest

import (
	"context"
	"errors"
	"maps"
	"sync"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
)

// Medium stands for a disk or a service that outlives the stores opened on it, and fails on demand. Commits on it can take as long
// as a test wants, fail, come too late because another store was loaded, or land in part. It is safe for concurrent use.
type Medium struct {
	mu      sync.Mutex
	records map[int64]lock.Record
	last    int64
	writer  *mediumStore
	gate    func(ctx context.Context) error
	fault   *fault
	commits int
}

type fault struct {
	groups int
	err    error
}

// NewMedium returns an empty medium.
func NewMedium() *Medium { return &Medium{records: map[int64]lock.Record{}} }

// Open returns a store on the medium. Its Load takes the medium over from the store before it, which is lost with
// store.ErrReplaced.
func (m *Medium) Open() store.Store { return &mediumStore{medium: m, lost: make(chan struct{})} }

// Gate makes every later commit call gate before it lands, without a lock held. An error of gate fails it. Nil removes the gate.
func (m *Medium) Gate(gate func(ctx context.Context) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.gate = gate
}

// Fail makes the next commit fail with err, after the given number of its groups has landed.
func (m *Medium) Fail(groups int, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fault = &fault{groups, err}
}

// Lose fails the store that was loaded last, between commits.
func (m *Medium) Lose(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.writer != nil {
		_ = m.writer.fail(err)
	}
}

// Records returns what is durable, by token, and the highest token.
func (m *Medium) Records() (map[int64]lock.Record, int64) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return maps.Clone(m.records), m.last
}

// Commits returns how many commits landed whole.
func (m *Medium) Commits() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.commits
}

type mediumStore struct {
	medium *Medium
	lost   chan struct{}
	err    error // under medium.mu
	closed bool
}

func (s *mediumStore) Load(ctx context.Context, yield func(lock.Record) error) (int64, error) {
	m := s.medium
	m.mu.Lock()
	if s.closed {
		m.mu.Unlock()
		return 0, errors.New("store is closed")
	}
	if m.writer != nil && m.writer != s {
		_ = m.writer.fail(store.ErrReplaced)
	}
	m.writer = s
	records, last := maps.Clone(m.records), m.last
	m.mu.Unlock()
	for _, r := range records {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if err := yield(r); err != nil {
			return 0, err
		}
	}
	return last, nil
}

func (s *mediumStore) Commit(ctx context.Context, changes []lock.Change) error {
	m := s.medium
	m.mu.Lock()
	gate := m.gate
	m.mu.Unlock()
	var gateErr error
	if gate != nil {
		gateErr = gate(ctx)
	}

	m.mu.Lock()
	defer m.mu.Unlock()
	if s.closed {
		return errors.New("store is closed")
	}
	if s.err != nil {
		return s.err
	}
	if gateErr != nil {
		return s.fail(gateErr)
	}
	if err := check(changes); err != nil {
		return s.fail(err)
	}
	fault := m.fault
	m.fault = nil
	for _, c := range changes {
		if fault != nil && fault.groups == 0 {
			break
		}
		m.apply(c)
		if fault != nil && c.Last {
			fault.groups--
		}
	}
	if fault != nil {
		return s.fail(fault.err)
	}
	m.commits++
	return nil
}

func check(changes []lock.Change) error {
	for _, c := range changes {
		r := c.Record
		switch {
		case r.Token <= 0:
			return errors.New("a token that is not positive")
		case c.Delete:
		case r.Mode > lock.Semaphore:
			return errors.New("an unknown mode")
		case r.Limit < 0:
			return errors.New("a negative limit")
		case r.Expire < 0:
			return errors.New("a negative expire")
		case r.Lease < 0:
			return errors.New("a negative lease")
		case r.MaxHold < 0:
			return errors.New("a negative longest hold")
		case len(r.Resource) >= 1<<16:
			return errors.New("a resource that is too long")
		}
	}
	return nil
}

func (m *Medium) apply(c lock.Change) {
	if c.Delete {
		delete(m.records, c.Record.Token)
		return
	}
	m.records[c.Record.Token] = c.Record
	m.last = max(m.last, c.Record.Token)
}

func (s *mediumStore) fail(err error) error {
	if s.err == nil {
		s.err = err
		close(s.lost)
	}
	return s.err
}

func (s *mediumStore) Lost() <-chan struct{} { return s.lost }

func (s *mediumStore) Err() error {
	s.medium.mu.Lock()
	defer s.medium.mu.Unlock()
	return s.err
}

func (s *mediumStore) Close() error {
	s.medium.mu.Lock()
	defer s.medium.mu.Unlock()
	s.closed = true
	if s.medium.writer == s {
		s.medium.writer = nil
	}
	return nil
}
