package disk

import (
	"errors"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
)

const (
	reserveFile = "RESERVE" // in the directory of a store: its bytes mean nothing, but the space is the store's

	lookEvery  = 250 * time.Millisecond // how often the free space is looked at
	retryEvery = 50 * time.Millisecond  // how often a write that found no room is tried again

	reserveSteps = 8 // the reserve is given up in so many steps
)

// room watches how much space the disk has, and keeps a reserve on it. The store is full while the disk has little space; then only what
// deletes is written, and that finds room in the reserve if others have filled the disk. So the store can also be closed, and opened again.
//
//	free space                      the store
//	less than a margin              is full
//	in between                      stays as it is
//	two margins or more             fills up its reserve, but leaves two margins free, and then is not full
//
// A write that finds no room makes the store full, takes a step of the reserve and is tried again. If nothing is left of it, it waits for
// room. Compactions only wait, as all can go on without them.
type room struct {
	path    string
	reserve int64 // bytes wanted, 0 for none
	free    func() (int64, error)
	log     *slog.Logger

	mu      sync.Mutex
	file    *os.File // nil if there is none
	size    int64    // of the file
	whole   bool     // the reserve has been as large as wanted
	full    bool
	waiting int // writes
	changed chan struct{}
	closing chan struct{}
	close   sync.Once
	watched sync.WaitGroup
}

func newRoom(d dir, reserve int64, log *slog.Logger) *room {
	return &room{
		path: d.join(reserveFile), reserve: reserve, log: log, changed: make(chan struct{}), closing: make(chan struct{}),
		free: func() (int64, error) {
			usage, err := d.fs.GetDiskUsage(d.path)
			return int64(min(usage.AvailBytes, math.MaxInt64)), err
		},
	}
}

func (r *room) margin() int64 { return r.reserve / 2 }
func (r *room) step() int64   { return max(r.reserve/reserveSteps, 1) }

// find takes over the reserve that is there.
func (r *room) find() error {
	if r.reserve == 0 {
		return nil
	}
	f, err := os.OpenFile(r.path, os.O_RDWR, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	info, err := f.Stat()
	if err == nil && info.Size() > r.reserve {
		err = f.Truncate(r.reserve)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	r.file, r.size = f, min(info.Size(), r.reserve)
	r.whole, r.full = true, r.size < r.reserve // some of it was needed
	return nil
}

// watch looks at the free space at once, and then again and again until end.
func (r *room) watch() {
	r.look()
	r.watched.Go(func() {
		for tick := time.NewTicker(lookEvery); ; {
			select {
			case <-tick.C:
				r.look()
			case <-r.closing:
				tick.Stop()
				return
			}
		}
	})
}

func (r *room) look() {
	free, err := r.free()
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case r.waiting > 0:
	case err != nil: // nobody knows, so only writes that find no room tell
		r.set(false)
	case free < r.margin():
		if !r.full {
			r.log.Warn("disk store: the disk has little space left (--disk-reserve)", "free_bytes", free, "wanted_bytes", r.reserve-r.size+2*r.margin())
		}
		r.set(true)
	case free >= 2*r.margin():
		r.fill(free - 2*r.margin())
		if r.size == r.reserve || !r.whole {
			r.set(false)
		}
	}
}

// fill makes the reserve larger, by at most so much.
func (r *room) fill(most int64) {
	n := min(most, r.reserve-r.size)
	if n <= 0 {
		return
	}
	if err := r.grow(n); err != nil {
		r.log.Warn("disk store: the reserve cannot be filled", "file", r.path, "bytes", r.size, "wanted", r.reserve, "error", err)
		return
	}
	if r.size == r.reserve {
		r.whole = true
		r.log.Debug("disk store: the reserve is whole", "file", r.path, "bytes", r.size)
	}
}

func (r *room) grow(n int64) (err error) {
	if r.file == nil {
		if r.file, err = os.OpenFile(r.path, os.O_RDWR|os.O_CREATE, 0o600); err != nil {
			r.file = nil
			return err
		}
	}
	if err := allocate(r.file, r.size, n); err != nil {
		return errors.Join(err, r.file.Truncate(r.size))
	}
	r.size += n
	return nil
}

// zeros is written where space cannot be allocated without.
var zeros [1 << 16]byte

func writeZeros(f *os.File, at, n int64) error {
	for end := at + n; at < end; {
		wrote, err := f.WriteAt(zeros[:min(int64(len(zeros)), end-at)], at)
		if err != nil {
			return err
		}
		at += int64(wrote)
	}
	return nil
}

// again decides whether a write that ended with err is to be tried again. It returns when it is time for that.
func (r *room) again(category vfs.DiskWriteCategory, err error) bool {
	if err == nil || !noRoom(err) {
		return false
	}
	if !canWait(category) && r.give() {
		return true
	}
	r.mu.Lock()
	r.set(true)
	r.waiting++
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		r.waiting--
		r.mu.Unlock()
	}()
	select {
	case <-time.After(retryEvery):
		return true
	case <-r.closing:
		return false
	}
}

// give gives up a step of the reserve. It returns false if there is none.
func (r *room) give() bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.set(true)
	if r.size == 0 {
		return false
	}
	size := max(r.size-r.step(), 0)
	if err := r.file.Truncate(size); err != nil {
		r.log.Error("disk store: the reserve cannot be used", "file", r.path, "error", err)
		return false
	}
	r.size = size
	r.log.Warn("disk store: the disk is full, and a part of the reserve is used", "file", r.path, "left_bytes", size)
	return true
}

// set tells whether the store is full.
func (r *room) set(full bool) {
	if full == r.full {
		return
	}
	r.full = full
	close(r.changed)
	r.changed = make(chan struct{})
}

// state reports whether the store is full, and returns what is closed when that changes.
func (r *room) state() (full bool, changed <-chan struct{}) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.full, r.changed
}

// hurry lets writes wait for room no longer.
func (r *room) hurry() { r.close.Do(func() { close(r.closing) }) }

// end ends the watching, and leaves the reserve as it is.
func (r *room) end() error {
	r.hurry()
	r.watched.Wait()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.file == nil {
		return nil
	}
	err := r.file.Close()
	r.file, r.size = nil, 0
	return err
}

func noRoom(err error) bool { return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) }

// canWait tells whether all can go on without a file of that category.
func canWait(category vfs.DiskWriteCategory) bool { return category == "pebble-compaction" }
