// Package memory is the store that keeps nothing. Grants are in the lock table only, and end with the process.
package memory

import (
	"context"
	"errors"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
)

type memoryStore struct {
	committed bool
	closed    bool
}

// New returns a store for one table. It can be loaded only before the first commit, since a second table would not find the grants of
// the first.
func New() store.Store { return &memoryStore{} }

func (s *memoryStore) Load(ctx context.Context, _ func(lock.Record) error) (int64, error) {
	switch {
	case s.closed:
		return 0, errors.New("memory store is closed")
	case s.committed:
		return 0, errors.New("memory store can't be loaded again: it keeps no grants")
	}
	return 0, ctx.Err()
}

func (s *memoryStore) Commit(_ context.Context, changes []lock.Change) error {
	if s.closed {
		return errors.New("memory store is closed")
	}
	s.committed = s.committed || len(changes) > 0
	return nil
}

// Instant marks the store as a store.Instant.
func (s *memoryStore) Instant() {}

// Lost returns nil, as there is nothing to lose.
func (s *memoryStore) Lost() <-chan struct{} { return nil }
func (s *memoryStore) Err() error            { return nil }

func (s *memoryStore) Close() error {
	s.closed = true
	return nil
}
