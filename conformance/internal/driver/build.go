package driver

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// SDKs is the directory whose lock is held by whoever builds in the directories of the SDKs; the one of builds itself is held as long as
// the drivers must stay as they are.
func SDKs(builds string) string { return filepath.Join(builds, "sdks") }

// Lock keeps others in this checkout out of a directory, until unlock: they wait for as long as ctx lasts.
func Lock(ctx context.Context, dir string) (unlock func() error, err error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return f.Close, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			return nil, errors.Join(err, f.Close())
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return nil, errors.Join(fmt.Errorf("another run holds %s: %w", f.Name(), ctx.Err()), f.Close())
		}
	}
}

// Build builds the drivers, those that share a directory and a command once, all at the same time. One whose sources are as they
// were when it was built last is left as it is.
func Build(ctx context.Context, specs []*Spec) error {
	var wg sync.WaitGroup
	var mu sync.Mutex
	var errs []error
	begun := map[string]bool{}
	for _, s := range specs {
		if s.Build == "" || begun[s.build] {
			continue
		}
		begun[s.build] = true
		wg.Go(func() {
			if err := s.make(ctx); err != nil {
				mu.Lock()
				defer mu.Unlock()
				errs = append(errs, fmt.Errorf("build driver %s: %w", s.Name, err))
			}
		})
	}
	wg.Wait()
	return errors.Join(errs...)
}

func (s *Spec) make(ctx context.Context) error {
	if err := os.MkdirAll(s.build, 0o755); err != nil {
		return err
	}
	stamp := filepath.Join(s.build, ".stamp")
	if built, err := os.Stat(stamp); err == nil && len(s.Sources) > 0 {
		if newest, err := s.newest(); err != nil || newest.Before(built.ModTime()) {
			return err
		}
	}
	if err := os.Remove(stamp); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	begun := time.Now()
	cmd := exec.CommandContext(ctx, "sh", "-c", strings.NewReplacer("{dir}", s.dir, "{build}", s.build).Replace(s.Build))
	cmd.Dir, cmd.Env = s.dir, append(os.Environ(), "BUILD="+s.build)
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%w: %s", err, tail(string(out)))
	}
	return errors.Join(os.WriteFile(stamp, nil, 0o644), os.Chtimes(stamp, begun, begun))
}

// newest is when the driver's directory or one of its sources changed last; a file that is removed changes its directory.
func (s *Spec) newest() (newest time.Time, err error) {
	for _, source := range append([]string{"."}, s.Sources...) {
		root := filepath.Join(s.dir, source)
		err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
			switch {
			case path != root && errors.Is(err, fs.ErrNotExist):
				return nil // made and removed meanwhile, as tools do with files of theirs
			case err != nil:
				return err
			case made(d.Name()) && path != root && d.IsDir():
				return filepath.SkipDir
			case made(d.Name()) || path == root:
				return nil // a root changes with whatever is made in it
			}
			info, err := d.Info()
			if err == nil && info.ModTime().After(newest) {
				newest = info.ModTime()
			}
			return nil
		})
		if err != nil {
			return newest, err
		}
	}
	return newest, nil
}

// made says whether a file or directory of that name is what building or testing leaves behind.
func made(name string) bool {
	switch name {
	case "node_modules", "dist", "build", "__pycache__", "test", "tests":
		return true
	}
	return strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".tgz") || strings.HasSuffix(name, ".egg-info")
}
