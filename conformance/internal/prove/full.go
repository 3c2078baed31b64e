package prove

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

const (
	smallDisk   = 128 << 20
	diskReserve = 4 << 20 // of the server
)

// disk is a small file system, for a server alone. It needs root on Linux.
type disk struct{ path string }

// mountSmall makes one: a file with ext4 in it or, where that cannot be had, one in memory.
func mountSmall(ctx context.Context, dir string) (*disk, error) {
	d, image := &disk{filepath.Join(dir, "small")}, filepath.Join(dir, "small.img")
	if err := errors.Join(os.Mkdir(d.path, 0o700), os.WriteFile(image, nil, 0o600), os.Truncate(image, smallDisk)); err != nil {
		return nil, err
	}
	var failed error
	for _, way := range [][][]string{
		{{"mkfs.ext4", "-q", "-F", image}, {"mount", "-o", "loop", image, d.path}},
		{{"mount", "-t", "tmpfs", "-o", fmt.Sprint("size=", smallDisk), "tmpfs", d.path}},
	} {
		var err error
		for _, command := range way {
			if err == nil {
				var out []byte
				if out, err = exec.CommandContext(ctx, command[0], command[1:]...).CombinedOutput(); err != nil { //nolint:gosec // the commands above
					err = fmt.Errorf("%v: %w: %s", command, err, out)
				}
			}
		}
		if err == nil {
			return d, nil
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}

func (d *disk) close() error {
	if out, err := exec.Command("umount", d.path).CombinedOutput(); err != nil { //nolint:gosec // our own directory
		return fmt.Errorf("umount %s: %w: %s", d.path, err, out)
	}
	return nil
}

func (d *disk) filler() string { return filepath.Join(d.path, "filler") }

// fill takes all the space that is left.
func (d *disk) fill() error {
	f, err := os.OpenFile(d.filler(), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	for size := 1 << 20; size >= 1<<12; size /= 2 {
		for zeros := make([]byte, size); err == nil; {
			_, err = f.Write(zeros)
		}
		if !errors.Is(err, syscall.ENOSPC) {
			return errors.Join(err, f.Close())
		}
		err = nil
	}
	return f.Close()
}

// fullDisk fills the disk until the server refuses to grant, and later makes room again. What is held can be released all the time, and
// then all goes on.
func (r *run) fullDisk(ctx context.Context, f fault) (err error) {
	const within = 30 * time.Second // the server may be started again meanwhile, and the machine have other things to do
	c := &raw{name: fmt.Sprint("full/", r.names.Add(1)), wire: r.observer, h: r.h}
	ask := func(name string, wait time.Duration) *lease {
		l := &lease{op: Op{Client: c.name, Kind: acquire, Resource: fmt.Sprintf("r%d-full-%s", f.round, name), Lease: 60}}
		limit, cancel := context.WithTimeout(ctx, wait)
		defer cancel()
		r.h.timed(&l.op, func() { c.acquire(limit, l) })
		return l
	}
	free := func(l *lease, broken string) {
		if !l.held {
			return
		}
		limit, cancel := context.WithTimeout(ctx, within)
		defer cancel()
		op := l.then(release)
		r.h.timed(op, func() { c.release(limit, l, op) })
		if l.held && ctx.Err() == nil {
			r.h.violation(broken, l.op.Resource, fmt.Sprintf("no release is answered within %s: %s", within, op.Note))
		}
	}
	before := ask(fmt.Sprint("before-", r.names.Add(1)), within)
	defer func() {
		if failed := os.Remove(r.disk.filler()); !errors.Is(failed, os.ErrNotExist) {
			err = errors.Join(err, failed)
		}
	}()
	giveUp := time.Now().Add(within)
	for status := http.StatusOK; status != http.StatusInsufficientStorage && ctx.Err() == nil; status = r.probe(ctx) {
		// What the server gives up of its reserve to end, or to start, is not for others to take.
		if status == http.StatusOK {
			if err := r.disk.fill(); err != nil {
				return err
			}
		}
		if time.Now().After(giveUp) {
			r.h.violation("a full disk takes no grants", "", fmt.Sprintf("no 507 within %s", within))
			break
		}
	}
	pause(ctx, f.length)
	free(before, "releases go on while the disk is full")
	if err := os.Remove(r.disk.filler()); err != nil {
		return err
	}
	after := ask(fmt.Sprint("after-", r.names.Add(1)), within)
	if !after.held && ctx.Err() == nil {
		r.h.violation("all goes on when there is room again", after.op.Resource, fmt.Sprintf("no grant within %s: %s", within, after.op.Note))
	}
	free(after, "all goes on when there is room again")
	return nil
}

// probe asks for a lock, and returns the status of the answer, 0 for none. If it is granted, it goes back.
func (r *run) probe(ctx context.Context) int {
	ctx, cancel := context.WithTimeout(ctx, patient)
	defer cancel()
	name := fmt.Sprint("probe-", r.names.Add(1))
	fields := map[string]any{"resource": name, "owner": name, "id": name, "expire": 1.0}
	a, err := r.observer.ask(ctx, acquire, fields)
	if err != nil {
		return 0
	}
	if a.Status == http.StatusOK {
		delete(fields, "expire")
		_, _ = r.observer.ask(ctx, release, fields) // else its lease ends it
	}
	return a.Status
}
