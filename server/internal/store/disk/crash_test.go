package disk_test

import (
	"errors"
	"math/rand/v2"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store/disk"
	"github.com/lockserver/lockserver/server/internal/store/storetest"
)

// A crash at any write of the making of a store leaves what can be opened again.
func TestCrashWhileTheStoreIsMade(t *testing.T) {
	for step := int32(0); ; step++ {
		mem := vfs.NewCrashableMem()
		var count atomic.Int32
		crashed := errors.New("crashed")
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && count.Add(1) > step {
				return crashed
			}
			return nil
		}))
		s, err := disk.OpenFS("/data", fs, quiet)
		for _, percent := range []int{0, 50, 100} {
			rng := rand.New(rand.NewPCG(1, uint64(step)))
			left, err := disk.OpenFS("/data", mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}), quiet)
			require.NoError(t, err, "after %d writes, %d %% of what was not synced", step, percent)
			storetest.Commit(t, left, change(1))
			require.NoError(t, left.Close())
		}
		if err == nil {
			require.NoError(t, s.Err())
			require.Greater(t, step, int32(20))
			return
		}
		require.ErrorContains(t, err, crashed.Error())
	}
}

// A power cut after any commit, with any part of what was not synced.
func TestPowerCut(t *testing.T) {
	for seed := range uint64(20) {
		rng := rand.New(rand.NewPCG(7, seed))
		mem := vfs.NewCrashableMem()
		s, err := disk.OpenFS("/data", mem, quiet)
		require.NoError(t, err)
		want := map[int64]bool{}
		var last int64
		for range 1 + rng.IntN(200) {
			var changes []lock.Change
			for range 1 + rng.IntN(20) {
				if old := 1 + rng.Int64N(last+1); rng.IntN(2) == 0 && want[old] {
					c := change(old)
					c.Delete = true
					changes = append(changes, c)
					delete(want, old)
					continue
				}
				last++
				c := change(last)
				c.Record.Note = strings.Repeat("n", rng.IntN(3000))
				changes = append(changes, c)
				want[last] = true
			}
			storetest.Commit(t, s, changes...)
		}
		cut := mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: rng.IntN(101), RNG: rng})
		require.NoError(t, s.Close())

		s, err = disk.OpenFS("/data", cut, quiet)
		require.NoError(t, err)
		records, lastToken := storetest.Load(t, s)
		require.NoError(t, s.Close())
		require.Len(t, records, len(want))
		for _, r := range records {
			require.True(t, want[r.Token])
		}
		require.Equal(t, last, lastToken)
	}
}

// A power cut in the middle of a commit is no damage, whichever of its blocks reached the disk.
func TestPowerCutInACommit(t *testing.T) {
	for seed := range uint64(8) {
		rng := rand.New(rand.NewPCG(11, seed))
		mem := vfs.NewCrashableMem()
		var durable, begun atomic.Int64
		var cuts []*vfs.MemFS
		var atLeast []int64
		seen := 0
		fs := errorfs.Wrap(mem, errorfs.InjectorFunc(func(op errorfs.Op) error {
			if isLog(op) && op.Kind == errorfs.OpFileSyncData || op.Kind == errorfs.OpFileSync {
				if seen++; seen > 20 && len(cuts) < 3 { // written, and not yet synced
					atLeast = append(atLeast, durable.Load())
					cuts = append(cuts, mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: 50, RNG: rng}))
				}
			}
			return nil
		}))
		s, err := disk.OpenFS("/data", fs, quiet)
		require.NoError(t, err)
		for token := int64(1); token <= 40; token++ {
			c := change(token)
			c.Record.Note = strings.Repeat("n", 200+rng.IntN(60_000))
			begun.Store(token)
			storetest.Commit(t, s, c)
			durable.Store(token)
		}
		require.NoError(t, s.Close())
		require.Len(t, cuts, 3)
		for i, cut := range cuts {
			left, err := disk.OpenFS("/data", cut, quiet)
			require.NoError(t, err)
			records, last := storetest.Load(t, left)
			require.NoError(t, left.Close())
			require.GreaterOrEqual(t, last, atLeast[i])
			require.LessOrEqual(t, last, atLeast[i]+1)
			require.EqualValues(t, last, len(records))
		}
	}
}
