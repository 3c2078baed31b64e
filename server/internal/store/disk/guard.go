package disk

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guardFS hides disk errors from Pebble, which panics over some of them with its mutexes held. The first write that fails makes the
// store fail, and halts its goroutine. That includes the time while the database opens, as Pebble writes then too. A write that only finds
// no room is tried again until it does; see room. A compaction that is given up over that is an error that Pebble gets, and survives.
type guardFS struct {
	vfs.FS
	failure *failure
	room    *room
}

func (g *guardFS) check(operation, name string, category vfs.DiskWriteCategory, err error) {
	if err != nil && !(noRoom(err) && canWait(category)) {
		g.failure.halt(fmt.Errorf("%s %s: %w", operation, name, err))
	}
}

// markerPrefix begins the names of Pebble's marker files. The name of a marker says which other file is current.
const markerPrefix = "marker."

// Create makes the file that a marker names durable before the marker. Pebble syncs the directory only once for both, so a crash could
// leave the marker alone.
func (g *guardFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
	if strings.HasPrefix(g.PathBase(name), markerPrefix) {
		d := dir{path: g.PathDir(name), fs: g}
		if err := d.sync(d.path); err != nil {
			return nil, err
		}
	}
	f, err := g.FS.Create(name, category)
	for g.room.again(category, err) {
		f, err = g.FS.Create(name, category)
	}
	return g.file("create", name, category, f, err)
}

func (g *guardFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.ReuseForWrite(oldname, newname, category)
	for g.room.again(category, err) {
		f, err = g.FS.ReuseForWrite(oldname, newname, category)
	}
	return g.file("reuse", newname, category, f, err)
}

func (g *guardFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := g.FS.OpenReadWrite(name, category, opts...)
	for g.room.again(category, err) {
		f, err = g.FS.OpenReadWrite(name, category, opts...)
	}
	return g.file("open", name, category, f, err)
}

func (g *guardFS) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	return g.file("open", name, vfs.WriteCategoryUnspecified, f, err)
}

func (g *guardFS) Rename(oldname, newname string) error {
	err := g.FS.Rename(oldname, newname)
	for g.room.again(vfs.WriteCategoryUnspecified, err) {
		err = g.FS.Rename(oldname, newname)
	}
	g.check("rename", oldname, vfs.WriteCategoryUnspecified, err)
	return err
}

func (g *guardFS) Unwrap() vfs.FS { return g.FS }

func (g *guardFS) file(operation, name string, category vfs.DiskWriteCategory, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		g.check(operation, name, category, err)
		return nil, err
	}
	return &guardFile{f, g, name, category}, nil
}

type guardFile struct {
	vfs.File
	guard    *guardFS
	name     string
	category vfs.DiskWriteCategory
}

func (f *guardFile) check(operation string, err error) {
	f.guard.check(operation, f.name, f.category, err)
}

func (f *guardFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	for f.guard.room.again(f.category, err) { // a part may have been written
		var more int
		more, err = f.File.Write(p[n:])
		n += more
	}
	f.check("write", err)
	return n, err
}

func (f *guardFile) WriteAt(p []byte, offset int64) (int, error) {
	n, err := f.File.WriteAt(p, offset)
	for f.guard.room.again(f.category, err) {
		var more int
		more, err = f.File.WriteAt(p[n:], offset+int64(n))
		n += more
	}
	f.check("write", err)
	return n, err
}

func (f *guardFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	f.check("stat", err)
	return info, err
}

func (f *guardFile) Sync() error {
	err := f.File.Sync()
	f.check("sync", err)
	return err
}

func (f *guardFile) SyncData() error {
	err := f.File.SyncData()
	f.check("sync", err)
	return err
}

func (f *guardFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	f.check("sync", err)
	return full, err
}

func (f *guardFile) Close() error {
	err := f.File.Close()
	f.check("close", err)
	return err
}
