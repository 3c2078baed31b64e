// Package store defines how grants are kept, so that they survive a crash.
package store

import (
	"context"
	"errors"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// Store makes the changes of one lock table durable.
//
// A store may be on this machine or behind a network: a commit may take milliseconds, fail, come too late because another writer took
// over, or land in part. Only the engine uses a store, and except for Lost and Full it never calls two methods at the same time.
type Store interface {
	// Load fences off older writers, calls yield for every record, in any order, and returns the highest token that was ever
	// committed, even if its grant is long gone, or 0. It stops at the first error of yield and returns it. It fails, and never
	// guesses, if it cannot read the data: see ErrCorrupt and ErrFormat.
	Load(ctx context.Context, yield func(lock.Record) error) (lastToken int64, err error)

	// Commit returns when all changes are durable. They take effect in order, in groups that end with a Last change. Each group is
	// atomic, so after a failure or a crash a prefix of the groups is durable; of a group with more changes than the store can make
	// durable at once, a prefix may be. After an error the store cannot be used any more, and it is unknown until the next Load what
	// became of the changes. Commit does not keep the slice.
	Commit(ctx context.Context, changes []lock.Change) error

	// Lost is closed when the store can no longer be written, because its disk failed or another writer took over. That may happen
	// between commits. Err then returns why; see ErrReplaced.
	Lost() <-chan struct{}
	Err() error

	// Close closes the store. Everything committed is already durable.
	Close() error
}

// Instant is a store whose Commit takes no time, so that the engine may call it under its mutex.
type Instant interface {
	Store
	Instant()
}

// Shared is a store that several servers share, of which one at a time has the right to write. Without changes, its Commit confirms
// that this server had the right at some time after the call. Close gives the right to the next server.
type Shared interface {
	Store
	Shared()
}

// Bounded is a store that can run out of room, and that tells so before a commit fails over it. While it is full, it has room for what
// deletes, but perhaps not for what puts.
type Bounded interface {
	Store

	// Full reports whether the store is full. changed is closed when that has changed.
	Full() (full bool, changed <-chan struct{})
}

var (
	// ErrInUse means that another process has the store open.
	ErrInUse = errors.New("store is in use by another process")
	// ErrFormat means that a newer version wrote the store.
	ErrFormat = errors.New("store has a newer format")
	// ErrCorrupt means that a record cannot be read. Nothing was changed.
	ErrCorrupt = errors.New("store is corrupt")
	// ErrReplaced means that this server has lost the right to write the store, and another one may have it. The store works: this
	// server can stand by, and open it again when it gets the right back.
	ErrReplaced = errors.New("another server may have taken over the store")
)
