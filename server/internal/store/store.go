// Package store keeps grants where a crash cannot reach them.
package store

import (
	"context"
	"errors"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// Store makes the changes of one lock table durable.
//
// It is made for a store on this machine and for one behind a network: commits may take milliseconds, fail, come too late because
// another writer took over, or land in part. Only the engine uses it, and never calls two methods at the same time, but for Lost.
type Store interface {
	// Load fences off older writers, then calls yield for every record, in any order, and returns the highest token that was
	// ever committed (0 for none), also of grants long gone. It stops at the first error of yield and returns it.
	// It fails, and never guesses, on data that it can't read: see ErrCorrupt and ErrFormat.
	Load(ctx context.Context, yield func(lock.Record) error) (lastToken int64, err error)

	// Commit returns once all changes are durable. They take effect in their order; those up to and with a Last one are atomic
	// together, so after a failure or a crash a prefix of such groups is durable. After an error the store is of no more use:
	// what became of the changes is unknown until the next Load. The slice is the caller's again after the return.
	Commit(ctx context.Context, changes []lock.Change) error

	// Lost is closed when the store can no longer be written (its disk failed, another writer took over), also between
	// commits; Err then says why. See ErrReplaced.
	Lost() <-chan struct{}
	Err() error

	// Close frees the store. Everything committed is durable already.
	Close() error
}

// Instant is a store whose Commit waits for nothing, and so may be called wherever a change is made.
type Instant interface {
	Store
	Instant()
}

var (
	// ErrInUse means that another process has the store open.
	ErrInUse = errors.New("store is in use by another process")
	// ErrFormat means that a newer version wrote the store.
	ErrFormat = errors.New("store has a newer format")
	// ErrCorrupt means that a record can't be read. Nothing was changed.
	ErrCorrupt = errors.New("store is corrupt")
	// ErrReplaced means that another server has the right to write the store now. All is well there: this one can stand by, and
	// open the store again once it gets the right back.
	ErrReplaced = errors.New("another server has taken over the store")
)
