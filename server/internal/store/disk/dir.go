package disk

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"strconv"
	"strings"
	"syscall"

	"github.com/cockroachdb/pebble/v2/vfs"

	"github.com/lockserver/lockserver/server/internal/store"
)

// A store is a directory with three entries. FORMAT is written last when a store is made. MAKING is there from before the database is
// begun until FORMAT is durable. So without FORMAT a database that is empty, or has MAKING beside it, is one whose making was cut
// short, and nobody was ever served from it. Anything else without FORMAT is not ours to touch.
const (
	lockFile   = "LOCK"   // held while a process has the store open
	formatFile = "FORMAT" // one line: formatPrefix and the format
	formatTemp = "FORMAT.tmp"
	makingFile = "MAKING"
	dbDir      = "db"

	formatPrefix = "lockserver-store "

	// format covers Pebble's format too: raise it together with pebbleFormat, so that an older server can say what it refuses.
	format = 1
)

type dir struct {
	path string
	fs   vfs.FS
}

// make creates the directory, for this user only, if it is missing.
func (d dir) make() error {
	info, err := d.fs.Stat(d.path)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil || errors.Is(err, syscall.ENOTDIR):
		return errors.New("the path is not a directory")
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	var grown []string // the directories that get a new entry
	for p := d.fs.PathDir(d.path); ; p = d.fs.PathDir(p) {
		grown = append(grown, p)
		if _, err := d.fs.Stat(p); err == nil || p == d.fs.PathDir(p) {
			break
		}
	}
	if err := d.fs.MkdirAll(d.path, 0o700); err != nil {
		return fmt.Errorf("cannot make the directory: %w", err)
	}
	for _, p := range grown {
		if err := d.sync(p); err != nil {
			return err
		}
	}
	return nil
}

func (d dir) lock() (io.Closer, error) {
	l, err := d.fs.Lock(d.join(lockFile))
	if err == nil {
		return l, nil
	}
	// A file that cannot be created gives a PathError. The lock itself gives a bare number, or a text if this process holds it.
	if _, ok := errors.AsType[*fs.PathError](err); ok {
		return nil, fmt.Errorf("cannot write in the directory: %w", err)
	}
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) || strings.Contains(err.Error(), "lock held by current process") {
		return nil, fmt.Errorf("%w: directory %s", store.ErrInUse, d.path)
	}
	return nil, fmt.Errorf("cannot lock the directory: %w", err)
}

// exists reports whether the directory holds a store in our format. It is an error if it holds anything that is not part of a store.
func (d dir) exists() (bool, error) {
	text, err := d.read(formatFile)
	if errors.Is(err, fs.ErrNotExist) {
		return false, d.checkUnused()
	}
	if err != nil {
		return false, err
	}
	number, ok := strings.CutPrefix(text, formatPrefix)
	number, whole := strings.CutSuffix(number, "\n")
	found, err := strconv.ParseUint(number, 10, 32)
	if !ok || !whole || err != nil || found == 0 {
		return false, fmt.Errorf("%w: %s reads %q, not %q", store.ErrCorrupt, d.join(formatFile), text, formatLine())
	}
	if found > format {
		return false, fmt.Errorf("%w: %s has format %d, this server reads up to %d", store.ErrFormat, d.path, found, format)
	}
	return true, nil
}

func (d dir) checkUnused() error {
	names, err := d.fs.List(d.path)
	if err != nil {
		return err
	}
	for _, name := range names {
		switch name {
		case lockFile, formatTemp, makingFile, dbDir:
		case "lost+found": // is in the root of a file system
		default:
			return fmt.Errorf("%w: %s is no store: it has no %s but holds %s", store.ErrCorrupt, d.path, formatFile, name)
		}
	}
	return nil
}

// begin makes room for a new database, and writes MAKING.
func (d dir) begin() error {
	switch _, err := d.fs.Stat(d.join(makingFile)); {
	case err == nil:
		return d.fs.RemoveAll(d.join(dbDir))
	case !errors.Is(err, fs.ErrNotExist):
		return err
	}
	if _, err := d.fs.Stat(d.join(dbDir)); !errors.Is(err, fs.ErrNotExist) {
		return err // there is a database, but no MAKING: it will be opened, and must be empty
	}
	f, err := d.fs.Create(d.join(makingFile), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	return d.sync(d.path)
}

// made removes MAKING, now that there is a FORMAT.
func (d dir) made() error {
	if err := d.fs.Remove(d.join(makingFile)); err != nil {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	}
	return d.sync(d.path)
}

// seal writes FORMAT: the store is made.
func (d dir) seal() error {
	f, err := d.fs.Create(d.join(formatTemp), vfs.WriteCategoryUnspecified)
	if err != nil {
		return err
	}
	_, err = f.Write([]byte(formatLine()))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if err := d.fs.Rename(d.join(formatTemp), d.join(formatFile)); err != nil {
		return err
	}
	if err := d.sync(d.path); err != nil {
		return err
	}
	return d.made()
}

func (d dir) sync(path string) error {
	f, err := d.fs.OpenDir(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func (d dir) read(name string) (string, error) {
	f, err := d.fs.Open(d.join(name))
	if err != nil {
		return "", err
	}
	text, err := io.ReadAll(io.LimitReader(f, 64))
	return string(text), errors.Join(err, f.Close())
}

func (d dir) join(name string) string { return d.fs.PathJoin(d.path, name) }

func formatLine() string { return formatPrefix + strconv.Itoa(format) + "\n" }
