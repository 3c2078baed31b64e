// Package journal writes what happens, and who asked for what, to a file of JSON lines: the history that survives a restart, and an audit
// log. Nobody waits for it: what comes faster than it can be written is left out, and the file tells how much that was.
package journal

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/lockserver/lockserver/server/internal/wire"
)

// Config says where, and how much at most.
type Config struct {
	Path   string // of the newest file; the ones before it are Path.1, Path.2 …
	Size   int64  // bytes of a file
	Files  int    // at most, the newest included
	Logger *slog.Logger
}

const (
	// queued is how many lines may wait to be written.
	queued = 1 << 15
	// collect is how long lines come together before they are written.
	collect = 20 * time.Millisecond
	// kept is how many lines' memory stays while there are none.
	kept = 4 << 10
	// retry is how long the journal waits after the disk has refused a line.
	retry = time.Second
)

// Journal is open from Open to Close.
type Journal struct {
	cfg    Config
	missed atomic.Uint64 // lines that were left out

	mu     sync.Mutex
	queue  []line
	gap    int64 // lines that were left out since the last that is in the queue or the file
	closed bool
	news   chan struct{}

	file  *os.File // of the writer, as all below
	at    int64    // where the last whole line ends
	spare []line
	b     []byte
	full  bool // the disk refused the last line
	done  chan struct{}
}

// line is what a line says: an event, or an operation.
type line struct {
	event wire.Event // with a Kind
	op    wire.Done
}

// Open opens the newest file, to go on behind its last whole line.
func Open(cfg Config) (*Journal, error) {
	j := &Journal{cfg: cfg, news: make(chan struct{}, 1), done: make(chan struct{})}
	if err := j.open(); err != nil {
		return nil, err
	}
	go j.run()
	return j, nil
}

// open opens the newest file. A line that a crash cut short is taken off.
func (j *Journal) open() error {
	f, err := os.OpenFile(j.cfg.Path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	end, err := lastLine(f)
	if err == nil {
		err = f.Truncate(end)
	}
	if err == nil {
		_, err = f.Seek(end, 0)
	}
	if err != nil {
		return errors.Join(err, f.Close())
	}
	j.file, j.at = f, end
	return nil
}

// lastLine returns where the last whole line ends.
func lastLine(f *os.File) (int64, error) {
	info, err := f.Stat()
	if err != nil {
		return 0, err
	}
	b := make([]byte, 4<<10)
	for end := info.Size(); end > 0; {
		from := max(0, end-int64(len(b)))
		part := b[:end-from]
		if _, err := f.ReadAt(part, from); err != nil {
			return 0, err
		}
		if i := bytes.LastIndexByte(part, '\n'); i >= 0 {
			return from + int64(i) + 1, nil
		}
		end = from
	}
	return 0, nil
}

// Event notes an event. It never waits.
func (j *Journal) Event(e *wire.Event) { j.put(line{event: *e}) }

// Done notes that an operation has its answer. It never waits.
func (j *Journal) Done(d *wire.Done) { j.put(line{op: *d}) }

// Missed notes that so many events were lost before they came here.
func (j *Journal) Missed(n int64) {
	j.missed.Add(uint64(n))
	j.mu.Lock()
	defer j.mu.Unlock()
	j.gap += n
}

// Lost returns how many lines were left out.
func (j *Journal) Lost() uint64 { return j.missed.Load() }

func (j *Journal) put(l line) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if len(j.queue) >= queued || j.closed {
		j.gap++
		j.missed.Add(1)
		return
	}
	j.queue = append(j.queue, l)
	select {
	case j.news <- struct{}{}:
	default:
	}
}

// Close writes what is queued, and ends the journal.
func (j *Journal) Close() error {
	j.mu.Lock()
	if j.closed {
		j.mu.Unlock()
		return nil
	}
	j.closed = true
	close(j.news)
	j.mu.Unlock()
	<-j.done
	return errors.Join(j.file.Sync(), j.file.Close())
}

// run writes until the journal is closed.
func (j *Journal) run() {
	defer close(j.done)
	for range j.news {
		j.write()
		if j.full {
			time.Sleep(retry)
		} else {
			time.Sleep(collect)
		}
	}
	j.write()
}

// write writes what is queued.
func (j *Journal) write() {
	j.mu.Lock()
	lines, gap := j.queue, j.gap
	j.queue, j.gap = j.spare[:0], 0
	j.mu.Unlock()
	j.b = j.b[:0]
	for i := range lines {
		if l := &lines[i]; l.event.Kind != 0 {
			j.b = append(wire.AppendEvent(j.b, &l.event), '\n')
		} else {
			j.b = wire.AppendDone(j.b, &l.op)
		}
	}
	n := int64(len(lines))
	clear(lines) // the names in it may be long
	if j.spare = lines; cap(lines) > kept {
		j.spare = nil
	}
	if gap > 0 { // they came when there was no room for more behind these
		j.b = wire.AppendMissed(j.b, time.Now(), gap)
	}
	err := j.flush()
	switch {
	case err != nil:
		j.missed.Add(uint64(n))
		j.mu.Lock()
		j.gap += n + gap
		j.mu.Unlock()
		if !j.full {
			j.cfg.Logger.Error("history file: lines are left out", "file", j.cfg.Path, "error", err)
		}
	case j.full:
		j.cfg.Logger.Info("history file: it is written again", "file", j.cfg.Path)
	}
	j.full = err != nil
	if cap(j.b) > kept<<8 {
		j.b = nil
	}
}

// flush appends b to the file, as a whole or not at all, and begins another one when it is full.
func (j *Journal) flush() error {
	if len(j.b) == 0 {
		return nil
	}
	if j.at > 0 && j.at+int64(len(j.b)) > j.cfg.Size {
		if err := j.rotate(); err != nil {
			return err
		}
	}
	if _, err := j.file.Write(j.b); err != nil {
		_, seek := j.file.Seek(j.at, 0)
		return errors.Join(err, j.file.Truncate(j.at), seek)
	}
	j.at += int64(len(j.b))
	return nil
}

// rotate begins another file, and forgets the oldest.
func (j *Journal) rotate() error {
	if err := errors.Join(j.file.Sync(), j.file.Close()); err != nil && !errors.Is(err, os.ErrClosed) {
		return err
	}
	if _, err := os.Stat(j.cfg.Path); errors.Is(err, fs.ErrNotExist) {
		return j.open() // it was moved before, and the next could not be made
	}
	for n := j.cfg.Files - 1; n > 0; n-- {
		if err := os.Rename(j.name(n-1), j.name(n)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	if j.cfg.Files == 1 {
		if err := os.Remove(j.cfg.Path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return j.open()
}

// name is the n-th file before the newest.
func (j *Journal) name(n int) string {
	if n == 0 {
		return j.cfg.Path
	}
	return fmt.Sprintf("%s.%d", j.cfg.Path, n)
}
