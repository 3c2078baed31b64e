// Package disk keeps grants in a directory on this machine.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
	"github.com/lockserver/lockserver/server/internal/store/record"
)

var errClosed = errors.New("store is closed")

type diskStore struct {
	dir   string
	db    *pebble.DB
	lock  io.Closer
	watch io.Closer // of how long the disk takes
	mark  int64     // highest token ever committed

	failure *failure
	room    *room
	batches chan *pebble.Batch
	done    chan error
	closed  bool
}

// Open opens the store in the directory dir. It makes the directory and the store if they are missing. If it fails with
// store.ErrInUse, store.ErrFormat or store.ErrCorrupt, it has left the store as it was. The store keeps so many bytes in reserve on the
// disk, to go on if others fill it; 0 for none.
func Open(dir string, reserve int64, logger *slog.Logger) (store.Store, error) {
	return open(dir, system(), reserve, logger)
}

func open(path string, fs vfs.FS, reserve int64, logger *slog.Logger) (_ store.Store, err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("disk store %s: %w", path, err)
		}
	}()
	d := dir{path, fs}
	if err := d.make(); err != nil {
		return nil, err
	}
	if _, err := d.exists(); err != nil { // leave no trace in somebody else's directory
		return nil, err
	}
	l, err := d.lock()
	if err != nil {
		return nil, err
	}
	s := &diskStore{
		dir:     path,
		lock:    l,
		failure: newFailure(),
		room:    newRoom(d, reserve, logger),
		batches: make(chan *pebble.Batch),
		done:    make(chan error, 1),
	}
	err = s.room.find()
	if err == nil {
		err = s.openDB(d, logger)
	}
	if err != nil {
		return nil, errors.Join(err, s.room.end(), s.unlock())
	}
	s.room.watch()
	go s.apply()
	return s, nil
}

func (s *diskStore) openDB(d dir, logger *slog.Logger) (err error) {
	exists, err := d.exists() // again, now that no other process can change it
	if err != nil {
		return err
	}
	path := d.join(dbDir)
	if exists {
		if _, err := d.fs.Stat(path); err != nil {
			return fmt.Errorf("%w: its database is missing: %w", store.ErrCorrupt, err)
		}
		desc, err := pebble.Peek(path, d.fs)
		if err != nil {
			return asCorrupt(err)
		}
		if !desc.Exists {
			return fmt.Errorf("%w: its database is missing: nothing is in %s", store.ErrCorrupt, path)
		}
		if err := checkLog(d.fs, path); err != nil {
			return err
		}
		if err := d.made(); err != nil {
			return err
		}
	} else {
		if err := d.begin(); err != nil {
			return err
		}
		if err := d.fs.MkdirAll(path, 0o700); err != nil {
			return err
		}
	}

	log := pebbleLog{logger, s.failure}
	watched, watch := vfs.WithDiskHealthChecks(d.fs, slowDisk, nil, log.diskSlow)
	guard := &guardFS{FS: watched, failure: s.failure, room: s.room}
	s.watch = watch
	s.db, err = await(s.failure, func() (*pebble.DB, error) { return openPebble(path, options(guard, log)) })
	if err != nil {
		return errors.Join(asCorrupt(err), watch.Close())
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.closeDB())
		}
	}()
	if s.mark, err = readMark(s.db); err != nil {
		return err
	}
	if exists {
		return nil
	}
	if err := checkEmpty(s.db); err != nil {
		return err
	}
	return d.seal()
}

// openPebble turns panics of Pebble into errors. Pebble panics over some damaged files.
func openPebble(path string, o *pebble.Options) (db *pebble.DB, err error) {
	defer func() {
		if p := recover(); p != nil {
			db, err = nil, fmt.Errorf("%w: %v", store.ErrCorrupt, p)
		}
	}()
	return pebble.Open(path, o)
}

func asCorrupt(err error) error {
	if pebble.IsCorruptionError(err) && !errors.Is(err, store.ErrCorrupt) {
		return fmt.Errorf("%w: %w", store.ErrCorrupt, err)
	}
	return err
}

func readMark(db *pebble.DB) (int64, error) {
	value, closer, err := db.Get(markKey())
	if errors.Is(err, pebble.ErrNotFound) {
		return 0, nil
	}
	if err != nil {
		return 0, asCorrupt(err)
	}
	token, err := decodeMark(markKey(), value)
	if err != nil {
		err = fmt.Errorf("%w: key %q: %w", store.ErrCorrupt, markKey(), err)
	}
	return token, errors.Join(err, closer.Close())
}

func checkEmpty(db *pebble.DB) error {
	it, err := db.NewIter(nil)
	if err != nil {
		return asCorrupt(err)
	}
	if it.First() {
		err = fmt.Errorf("%w: there is no %s, but the database holds key %q", store.ErrCorrupt, formatFile, it.Key())
	}
	return errors.Join(err, asCorrupt(it.Close()))
}

func (s *diskStore) Load(ctx context.Context, yield func(lock.Record) error) (lastToken int64, err error) {
	if s.closed {
		return 0, errClosed
	}
	it, err := s.db.NewIterWithContext(ctx, nil)
	if err != nil {
		return 0, asCorrupt(err)
	}
	defer func() {
		if err = errors.Join(err, asCorrupt(it.Close())); err != nil {
			lastToken, err = 0, fmt.Errorf("disk store %s: %w", s.dir, err)
		}
	}()
	for valid := it.First(); valid; valid = it.Next() {
		if err := ctx.Err(); err != nil {
			return 0, err
		}
		if key := it.Key(); len(key) == 1 && key[0] == kindMark {
			continue // open has read it
		}
		value, err := it.ValueAndErr()
		if err != nil {
			return 0, asCorrupt(err)
		}
		r, err := decodeGrant(it.Key(), value)
		if err == nil && r.Token > s.mark {
			err = fmt.Errorf("its token is above the highest committed, %d", s.mark)
		}
		if err != nil {
			return 0, fmt.Errorf("%w: key %q: %w", store.ErrCorrupt, it.Key(), err)
		}
		if err := yield(r); err != nil {
			return 0, err
		}
	}
	return s.mark, nil
}

// Commit also fails, and the store with it, if ctx ends first.
func (s *diskStore) Commit(ctx context.Context, changes []lock.Change) error {
	if s.closed {
		return errClosed
	}
	if err := s.failure.get(); err != nil {
		return err
	}
	if len(changes) == 0 {
		return nil
	}
	b := s.db.NewBatch()
	mark, err := encode(b, changes, s.mark)
	if err != nil {
		return s.failure.set(err)
	}
	s.batches <- b
	select {
	case err = <-s.done:
	case <-s.failure.frozen:
		return s.failure.get()
	case <-ctx.Done():
		return s.failure.abandon(fmt.Errorf("commit given up: %w", context.Cause(ctx)))
	}
	if err != nil {
		return s.failure.set(fmt.Errorf("commit: %w", err))
	}
	s.mark = mark
	return nil
}

// encode returns the highest token after the changes.
func encode(b *pebble.Batch, changes []lock.Change, mark int64) (int64, error) {
	last := mark
	for i := range changes {
		r := &changes[i].Record
		if changes[i].Delete {
			op := b.DeleteDeferred(grantKeyLen)
			putGrantKey(op.Key, r.Token)
			if err := op.Finish(); err != nil {
				return 0, err
			}
			continue
		}
		if err := record.Check(r); err != nil {
			return 0, fmt.Errorf("change %d, a grant of %q: %w", changes[i].Seq, r.Resource, err)
		}
		op := b.SetDeferred(grantKeyLen, record.Len(r))
		putGrantKey(op.Key, r.Token)
		record.Put(op.Value, op.Key, r)
		if err := op.Finish(); err != nil {
			return 0, err
		}
		last = max(last, r.Token)
	}
	if last == mark {
		return last, nil
	}
	op := b.SetDeferred(1, markLen)
	op.Key[0] = kindMark
	putMark(op.Value, op.Key, last)
	return last, op.Finish()
}

// apply commits batches on its own goroutine; see failure.halt.
func (s *diskStore) apply() {
	for b := range s.batches {
		err := b.Commit(pebble.Sync)
		if err == nil {
			err = b.Close()
		}
		s.done <- err
	}
}

func (s *diskStore) Lost() <-chan struct{} { return s.failure.lost }
func (s *diskStore) Err() error            { return s.failure.get() }

// Full reports whether the disk has little space left.
func (s *diskStore) Full() (full bool, changed <-chan struct{}) { return s.room.state() }

func (s *diskStore) Close() error {
	if s.closed {
		return nil
	}
	s.closed = true
	s.room.hurry()
	close(s.batches)
	if err := errors.Join(s.closeDB(), s.room.end()); err != nil {
		return fmt.Errorf("disk store %s: close: %w", s.dir, err)
	}
	return s.unlock()
}

// unlock keeps the lock until the end of the process if the database was abandoned, which may still write.
func (s *diskStore) unlock() error {
	select {
	case <-s.failure.frozen:
		return nil
	default:
		return s.lock.Close()
	}
}

// closeDB closes the database, unless it was abandoned. It first moves what is in the log into tables, where damage to any byte is
// found.
func (s *diskStore) closeDB() error {
	_, err := await(s.failure, func() (struct{}, error) {
		return struct{}{}, errors.Join(s.db.Flush(), s.db.Close(), s.watch.Close())
	})
	return err
}
