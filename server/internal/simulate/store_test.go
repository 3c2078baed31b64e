package simulate_test

import (
	"context"
	"errors"
	"maps"
	"slices"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
)

// medium is what outlives servers: a disk, or a cluster's store.
type medium struct {
	records map[int64]lock.Record
	last    int64              // the highest token that was ever durable
	ever    map[int64]struct{} // all tokens that ever were
	epoch   int                // of a shared one: which server has the right to write
	full    bool
	piece   int // of a shared one: how many changes it takes at once; larger groups land in pieces
}

func newMedium() *medium {
	return &medium{records: map[int64]lock.Record{}, ever: map[int64]struct{}{}, piece: 1 << 30}
}

// faultyStore is one server's way to the medium. A commit is under way until the simulator decides about it.
type faultyStore struct {
	w      *world
	medium *medium
	host   *host
	epoch  int
	order  uint32 // of loading
	commit *commit
	lost   chan struct{}
	room   chan struct{} // closed when the medium is full, or has room again
	err    error         // of Lost
	failed bool
}

// commit is one call of Commit.
type commit struct {
	changes []lock.Change
	landed  int // how many of them are durable
	decided bool
	err     error
}

var (
	errCrashed = errors.New("the server has crashed")
	errFailed  = errors.New("the disk has failed")
)

func (s *faultyStore) Load(_ context.Context, yield func(lock.Record) error) (int64, error) {
	tokens := slices.Sorted(maps.Keys(s.medium.records))
	for i := range tokens { // in any order
		j := i + int(s.order)%(len(tokens)-i)
		tokens[i], tokens[j] = tokens[j], tokens[i]
	}
	for _, t := range tokens {
		if err := yield(s.medium.records[t]); err != nil {
			return 0, err
		}
	}
	return s.medium.last, nil
}

func (s *faultyStore) Commit(_ context.Context, changes []lock.Change) error {
	s.w.check(s.commit == nil, "two commits at once")
	s.w.check(len(changes) == 0 || changes[len(changes)-1].Last, "the last change of a commit does not end its group")
	c := &commit{changes: changes}
	s.commit = c
	for !c.decided {
		if s.err != nil {
			c.err = s.err
			break
		}
		s.host.Yield()
	}
	s.commit = nil
	return c.err
}

// land makes the next piece of the commit durable: a group, or a part of one that is too large. It returns false if there is none.
func (s *faultyStore) land() bool {
	c := s.commit
	for n := 0; c.landed < len(c.changes) && n < s.medium.piece; n++ {
		change := &c.changes[c.landed]
		s.w.landed(change)
		c.landed++
		if change.Last {
			return true
		}
	}
	return c.landed < len(c.changes)
}

// decide ends the commit.
func (s *faultyStore) decide(err error) {
	s.commit.decided, s.commit.err = true, err
	s.failed = s.failed || err != nil
}

// finish ends the commit well, unless another server has the right to write.
func (s *faultyStore) finish() {
	if s.replaced() {
		s.decide(store.ErrReplaced)
		return
	}
	for s.land() {
	}
	s.decide(nil)
}

func (s *faultyStore) replaced() bool { return s.epoch != s.medium.epoch }

// lose makes the store useless, between commits or in one.
func (s *faultyStore) lose(err error) {
	if s.err == nil {
		s.err, s.failed = err, true
		close(s.lost)
	}
}

func (s *faultyStore) Lost() <-chan struct{} { return s.lost }
func (s *faultyStore) Err() error            { return s.err }
func (s *faultyStore) Close() error          { return nil }

// instantStore commits at once.
type instantStore struct{ *faultyStore }

func (s instantStore) Instant() {}

func (s instantStore) Commit(_ context.Context, changes []lock.Change) error {
	for i := range changes {
		s.w.landed(&changes[i])
	}
	return s.err
}

// sharedStore may be taken over by another server.
type sharedStore struct{ *faultyStore }

func (s sharedStore) Shared() {}
