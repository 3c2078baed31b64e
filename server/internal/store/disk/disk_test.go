package disk_test

import (
	"context"
	"errors"
	"log/slog"
	"path/filepath"
	"sync/atomic"
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

var quiet = slog.New(slog.DiscardHandler)

func TestContract(t *testing.T) {
	storetest.Run(t, func(tb testing.TB) func() (store.Store, error) {
		dir := filepath.Join(tb.TempDir(), "data")
		return func() (store.Store, error) { return disk.Open(dir, 0, quiet) }
	})
}

// In memory, because the abandoned database still writes when the test is over.
func TestCommitGivenUpFailsTheStore(t *testing.T) {
	var slow atomic.Bool
	synced := make(chan struct{})
	t.Cleanup(func() { close(synced) })
	fs := errorfs.Wrap(vfs.NewMem(), errorfs.InjectorFunc(func(op errorfs.Op) error {
		if slow.Load() && isLogSync(op) {
			<-synced
		}
		return nil
	}))
	s, err := disk.OpenFS("/data", fs, quiet)
	require.NoError(t, err)
	storetest.Commit(t, s, change(1))
	slow.Store(true)
	tired := errors.New("tired of waiting")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(tired)
	require.ErrorIs(t, s.Commit(ctx, []lock.Change{change(2)}), tired)
	<-s.Lost()
	require.ErrorIs(t, s.Commit(t.Context(), []lock.Change{change(3)}), tired)
	require.ErrorIs(t, s.Close(), tired)
	_, err = disk.OpenFS("/data", fs, quiet)
	require.ErrorIs(t, err, store.ErrInUse, "the commit is still under way")
}

func openDisk(t *testing.T, dir string) store.Store {
	t.Helper()
	s, err := disk.Open(dir, 0, quiet)
	require.NoError(t, err)
	t.Cleanup(func() { require.NoError(t, s.Close()) })
	return s
}

func change(token int64) lock.Change {
	return lock.Change{Last: true, Record: lock.Record{Resource: "r", Owner: "o", Token: token, Expire: time.Minute, Lease: time.Minute}}
}
