package disk_test

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
	"github.com/lockserver/lockserver/server/internal/store/disk"
	"github.com/lockserver/lockserver/server/internal/store/storetest"
)

// patience is how long anything may take before a test gives up.
const patience = 30 * time.Second

// awaitFull waits until the store says that it is full, or is not.
func awaitFull(t *testing.T, s store.Store, want bool) {
	t.Helper()
	giveUp := time.After(patience)
	for {
		full, changed := s.(store.Bounded).Full()
		if full == want {
			return
		}
		select {
		case <-changed:
		case <-giveUp:
			require.Failf(t, "nothing changed", "full: %v", full)
		}
	}
}

func isWrite(op errorfs.Op) bool {
	return slices.Contains([]errorfs.OpKind{errorfs.OpFileWrite, errorfs.OpFileWriteAt, errorfs.OpCreate, errorfs.OpReuseForWrite}, op.Kind)
}

// A write that finds no room waits for it, whatever it writes, and then all goes on. What was committed by then is durable.
func TestWritesWaitForRoom(t *testing.T) {
	for name, match := range map[string]func(errorfs.Op) bool{
		"log":        func(op errorfs.Op) bool { return isWrite(op) && isLog(op) },
		"tables":     func(op errorfs.Op) bool { return isWrite(op) && strings.HasSuffix(op.Path, ".sst") },
		"manifest":   func(op errorfs.Op) bool { return isWrite(op) && strings.Contains(op.Path, "MANIFEST") },
		"everything": isWrite,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			mem := vfs.NewCrashableMem()
			fs := newFaultyFS(mem, syscall.ENOSPC, match)
			s, err := disk.OpenFS("/data", fs, quiet)
			require.NoError(t, err)
			committed := make(chan int64, 1)
			stop := make(chan struct{})
			go func() {
				token := int64(0)
				defer func() { committed <- token }()
				for {
					c := change(token + 1)
					c.Record.Note = strings.Repeat("n", 60_000) // so that logs and memtables fill up
					if err := s.Commit(context.Background(), []lock.Change{c}); err != nil {
						t.Errorf("commit %d: %v", token+1, err)
						return
					}
					token++
					select {
					case <-stop:
						return
					default:
					}
				}
			}()
			for range 3 {
				fs.broken.Store(true)
				awaitFull(t, s, true)
				fs.broken.Store(false)
				awaitFull(t, s, false)
			}
			close(stop)
			token := <-committed
			require.NoError(t, s.Err())
			require.Positive(t, fs.hits.Load())
			left, err := disk.OpenFS("/data", mem.CrashClone(vfs.CrashCloneCfg{}), quiet)
			require.NoError(t, err)
			records, last := storetest.Load(t, left)
			require.NoError(t, left.Close())
			require.Len(t, records, int(token))
			require.Equal(t, token, last)
			require.NoError(t, s.Close())
		})
	}
}

// A store that finds no room even so can be closed: it fails, but does not hang, and has lost nothing.
func TestCloseWithoutRoom(t *testing.T) {
	mem := vfs.NewCrashableMem()
	fs := newFaultyFS(mem, syscall.ENOSPC, isWrite)
	s, err := disk.OpenFS("/data", fs, quiet)
	require.NoError(t, err)
	storetest.Commit(t, s, change(1))
	fs.broken.Store(true)
	waits := make(chan error, 1)
	go func() { waits <- s.Commit(context.Background(), []lock.Change{change(2)}) }()
	awaitFull(t, s, true)
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	require.ErrorIs(t, <-closed, syscall.ENOSPC)
	require.ErrorIs(t, <-waits, syscall.ENOSPC)
	left, err := disk.OpenFS("/data", mem.CrashClone(vfs.CrashCloneCfg{}), quiet)
	require.NoError(t, err)
	records, _ := storetest.Load(t, left)
	require.NoError(t, left.Close())
	require.Len(t, records, 1)
}

// smallFS is a file system that says how much space is free.
type smallFS struct {
	vfs.FS
	free atomic.Int64
}

func (f *smallFS) GetDiskUsage(string) (vfs.DiskUsage, error) {
	return vfs.DiskUsage{AvailBytes: uint64(f.free.Load())}, nil
}

func TestReserve(t *testing.T) {
	const reserve = 1 << 20
	dir := t.TempDir()
	file := filepath.Join(dir, "RESERVE")
	fs := &smallFS{FS: vfs.Default}
	fs.free.Store(10 * reserve)
	faulty := newFaultyFS(fs, syscall.ENOSPC, func(op errorfs.Op) bool { return isWrite(op) && isLog(op) })
	open := func() store.Store {
		s, err := disk.OpenWithReserve(dir, faulty, reserve, quiet)
		require.NoError(t, err)
		return s
	}
	size := func() int64 {
		info, err := os.Stat(file)
		if err != nil {
			return 0
		}
		return info.Size()
	}
	s := open()
	require.Eventually(t, func() bool { return size() == reserve }, patience, time.Millisecond)
	var stat syscall.Stat_t
	require.NoError(t, syscall.Stat(file, &stat))
	require.GreaterOrEqual(t, stat.Blocks*512, int64(reserve), "it takes space")

	fs.free.Store(reserve/2 - 1)
	awaitFull(t, s, true)
	storetest.Commit(t, s, change(1))
	require.EqualValues(t, reserve, size(), "there was room")
	fs.free.Store(reserve - 1)
	require.NoError(t, s.Close())
	s = open()
	full, _ := s.(store.Bounded).Full()
	require.False(t, full, "in between it stays as it was, and it begins with room")
	fs.free.Store(reserve/2 - 1)
	awaitFull(t, s, true)
	require.NoError(t, s.Close())
	s = open()
	full, _ = s.(store.Bounded).Full()
	require.True(t, full, "it is full from the first")

	faulty.broken.Store(true)
	committed := make(chan error, 1)
	go func() { committed <- s.Commit(context.Background(), []lock.Change{change(2)}) }()
	require.Eventually(t, func() bool { return size() == 0 }, patience, time.Millisecond, "all of it was given up")
	faulty.broken.Store(false)
	require.NoError(t, <-committed)
	fs.free.Store(reserve)
	require.Never(t, func() bool { return size() > 0 }, 400*time.Millisecond, 50*time.Millisecond, "there is no room for it yet")
	full, _ = s.(store.Bounded).Full()
	require.True(t, full)
	fs.free.Store(10 * reserve)
	awaitFull(t, s, false)
	require.EqualValues(t, reserve, size())
	require.NoError(t, s.Close())
}
