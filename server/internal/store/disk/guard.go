package disk

import (
	"fmt"
	"strings"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guardFS hides disk errors from Pebble, which panics over some of them with its mutexes held. The first write that fails makes the
// store fail, and halts its goroutine. That includes the time while the database opens, as Pebble writes then too.
type guardFS struct {
	vfs.FS
	failure *failure
}

func (g *guardFS) check(operation, name string, err error) {
	if err != nil {
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
	return g.file("create", name, f, err)
}

func (g *guardFS) ReuseForWrite(oldname, newname string, category vfs.DiskWriteCategory) (vfs.File, error) {
	f, err := g.FS.ReuseForWrite(oldname, newname, category)
	return g.file("reuse", newname, f, err)
}

func (g *guardFS) OpenReadWrite(name string, category vfs.DiskWriteCategory, opts ...vfs.OpenOption) (vfs.File, error) {
	f, err := g.FS.OpenReadWrite(name, category, opts...)
	return g.file("open", name, f, err)
}

func (g *guardFS) OpenDir(name string) (vfs.File, error) {
	f, err := g.FS.OpenDir(name)
	return g.file("open", name, f, err)
}

func (g *guardFS) Rename(oldname, newname string) error {
	err := g.FS.Rename(oldname, newname)
	g.check("rename", oldname, err)
	return err
}

func (g *guardFS) Unwrap() vfs.FS { return g.FS }

func (g *guardFS) file(operation, name string, f vfs.File, err error) (vfs.File, error) {
	if err != nil {
		g.check(operation, name, err)
		return nil, err
	}
	return &guardFile{f, g, name}, nil
}

type guardFile struct {
	vfs.File
	guard *guardFS
	name  string
}

func (f *guardFile) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.guard.check("write", f.name, err)
	return n, err
}

func (f *guardFile) WriteAt(p []byte, offset int64) (int, error) {
	n, err := f.File.WriteAt(p, offset)
	f.guard.check("write", f.name, err)
	return n, err
}

func (f *guardFile) Stat() (vfs.FileInfo, error) {
	info, err := f.File.Stat()
	f.guard.check("stat", f.name, err)
	return info, err
}

func (f *guardFile) Sync() error {
	err := f.File.Sync()
	f.guard.check("sync", f.name, err)
	return err
}

func (f *guardFile) SyncData() error {
	err := f.File.SyncData()
	f.guard.check("sync", f.name, err)
	return err
}

func (f *guardFile) SyncTo(length int64) (bool, error) {
	full, err := f.File.SyncTo(length)
	f.guard.check("sync", f.name, err)
	return full, err
}

func (f *guardFile) Close() error {
	err := f.File.Close()
	f.guard.check("close", f.name, err)
	return err
}
