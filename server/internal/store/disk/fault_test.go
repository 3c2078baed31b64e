package disk_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store/disk"
	"github.com/lockserver/lockserver/server/internal/store/storetest"
)

// faultyFS fails the operations that match, once it is switched on.
type faultyFS struct {
	vfs.FS
	broken atomic.Bool
	hits   atomic.Int32
}

func newFaultyFS(inner vfs.FS, err error, match func(errorfs.Op) bool) *faultyFS {
	f := &faultyFS{}
	f.FS = errorfs.Wrap(inner, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if f.broken.Load() && match(op) {
			f.hits.Add(1)
			return err
		}
		return nil
	}))
	return f
}

func isLog(op errorfs.Op) bool { return strings.HasSuffix(op.Path, ".log") }

func isLogSync(op errorfs.Op) bool {
	return isLog(op) && (op.Kind == errorfs.OpFileSync || op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSyncTo)
}

// The fatal path in a process of its own: it must neither end the process nor let a commit pass for durable.
func TestLogThatCannotBeSynced(t *testing.T) {
	dir := t.TempDir()
	var out, errOut bytes.Buffer
	cmd := child(t, childFailsSync, dir)
	cmd.Stdout, cmd.Stderr = &out, &errOut
	require.NoError(t, cmd.Run(), "%s%s", &out, &errOut)
	require.Contains(t, out.String(), "lost: ")
	require.Contains(t, out.String(), "input/output error")
	require.Contains(t, out.String(), "durable: 10\n")

	records, last := storetest.Load(t, openDisk(t, dir))
	require.GreaterOrEqual(t, len(records), 10)
	require.GreaterOrEqual(t, last, int64(10))
}

func commitUntilTheLogFails() {
	fs := newFaultyFS(vfs.Default, syscall.EIO, isLogSync)
	s, err := disk.OpenFS(os.Getenv(childDir), fs, quiet)
	if err != nil {
		panic(err)
	}
	durable := int64(0)
	for token := int64(1); token <= 20; token++ {
		fs.broken.Store(token > 10)
		if err := s.Commit(context.Background(), []lock.Change{change(token)}); err == nil {
			durable = token
		}
	}
	<-s.Lost()
	fmt.Printf("lost: %v\ndurable: %d\n", s.Err(), durable)
	_ = s.Close() // it may fail, but must return
}

func TestFaultsFailTheStore(t *testing.T) {
	faults := map[string]struct {
		err   error
		match func(errorfs.Op) bool
	}{
		"next log": {syscall.EIO, func(op errorfs.Op) bool {
			return isLog(op) && (op.Kind == errorfs.OpCreate || op.Kind == errorfs.OpReuseForWrite)
		}},
		"sync": {syscall.EIO, isLogSync},
		"manifest": {syscall.EIO, func(op errorfs.Op) bool {
			return strings.Contains(op.Path, "MANIFEST") && op.Kind.ReadOrWrite() == errorfs.OpIsWrite
		}},
		"directory": {syscall.EIO, func(op errorfs.Op) bool { return strings.HasSuffix(op.Path, "/db") && op.Kind == errorfs.OpFileSync }},
	}
	for name, fault := range faults {
		t.Run(name, func(t *testing.T) {
			mem := vfs.NewCrashableMem()
			fs := newFaultyFS(mem, fault.err, fault.match)
			s, err := disk.OpenFS("/data", fs, quiet)
			require.NoError(t, err)
			commit := func(token int64) error {
				c := change(token)
				c.Record.Note = strings.Repeat("n", 60_000) // so that logs and memtables fill up
				return s.Commit(t.Context(), []lock.Change{c})
			}
			var token int64
			for token = 1; token <= 10; token++ {
				require.NoError(t, commit(token))
			}
			fs.broken.Store(true)
			for ; ; token++ {
				if err = commit(token); err != nil {
					break
				}
				require.Less(t, token, int64(5000), "the fault was never noticed")
			}
			require.ErrorContains(t, err, fault.err.Error())
			require.Positive(t, fs.hits.Load())
			<-s.Lost()
			require.Equal(t, err, s.Err())
			require.Error(t, commit(token+1))

			// The disk as the crash leaves it: all that was committed is there, and what failed may be.
			fs.broken.Store(false)
			left, err := disk.OpenFS("/data", mem.CrashClone(vfs.CrashCloneCfg{}), quiet)
			require.NoError(t, err)
			records, last := storetest.Load(t, left)
			require.NoError(t, left.Close())
			require.GreaterOrEqual(t, int64(len(records)), token-1)
			require.LessOrEqual(t, int64(len(records)), token)
			require.EqualValues(t, len(records), last)
			_ = s.Close() // of a failed store: it may fail, but must return
		})
	}
}
