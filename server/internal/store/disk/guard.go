package disk

import (
	"fmt"
	"sync/atomic"

	"github.com/cockroachdb/pebble/v2/vfs"
)

// guardFS keeps disk errors from Pebble, which panics with its mutexes held over some of them. From arm on, the first write that
// fails fails the store, and halts the goroutine that made it. Until then, while the database opens, Pebble returns them as it should.
type guardFS struct {
	vfs.FS
	failure *failure
	armed   atomic.Bool
}

func (g *guardFS) arm() { g.armed.Store(true) }

func (g *guardFS) check(operation, name string, err error) {
	if err != nil && g.armed.Load() {
		g.failure.halt(fmt.Errorf("%s %s: %w", operation, name, err))
	}
}

func (g *guardFS) Create(name string, category vfs.DiskWriteCategory) (vfs.File, error) {
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
