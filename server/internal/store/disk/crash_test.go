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

var errCrashed = errors.New("crashed")

// crashingFS fails every write after the first few.
func crashingFS(fs vfs.FS, writes int32) vfs.FS {
	var count atomic.Int32
	return errorfs.Wrap(fs, errorfs.InjectorFunc(func(op errorfs.Op) error {
		if op.Kind.ReadOrWrite() == errorfs.OpIsWrite && count.Add(1) > writes {
			return errCrashed
		}
		return nil
	}))
}

// A crash at any write of the making of a store leaves what can be opened again.
func TestCrashWhileTheStoreIsMade(t *testing.T) {
	for step := int32(0); ; step++ {
		mem := vfs.NewCrashableMem()
		s, err := disk.OpenFS("/data", crashingFS(mem, step), quiet)
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
		require.ErrorContains(t, err, errCrashed.Error())
	}
}

// A crash at any write of opening and closing a store that holds grants, whichever of the files that were made have kept their names.
func TestCrashWhileTheStoreIsOpenedAndClosed(t *testing.T) {
	const grants, seeds = 10, 20
	base := vfs.NewCrashableMem()
	s, err := disk.OpenFS("/data", base, quiet)
	require.NoError(t, err)
	for token := range int64(grants) {
		storetest.Commit(t, s, change(token+1))
	}
	killed := base.CrashClone(vfs.CrashCloneCfg{})
	require.NoError(t, s.Close())
	for name, before := range map[string]*vfs.MemFS{"killed": killed, "closed": base} {
		t.Run(name, func(t *testing.T) {
			for step := int32(0); ; step++ {
				mem := before.CrashClone(vfs.CrashCloneCfg{})
				s, err := disk.OpenFS("/data", crashingFS(mem, step), quiet)
				if err == nil {
					err = s.Close()
				}
				for _, percent := range []int{0, 50, 100} {
					for seed := range uint64(seeds) {
						rng := rand.New(rand.NewPCG(seed, uint64(step)))
						left, err := disk.OpenFS("/data", mem.CrashClone(vfs.CrashCloneCfg{UnsyncedDataPercent: percent, RNG: rng}), quiet)
						require.NoError(t, err, "after %d writes, %d %% of what was not synced", step, percent)
						records, last := storetest.Load(t, left)
						require.NoError(t, left.Close())
						require.Len(t, records, grants)
						require.EqualValues(t, grants, last)
						if percent == 0 || percent == 100 {
							break // nothing is left to chance
						}
					}
				}
				if err == nil {
					require.Greater(t, step, int32(20))
					return
				}
				require.ErrorContains(t, err, errCrashed.Error())
			}
		})
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
			require.Len(t, records, int(last))
		}
	}
}
