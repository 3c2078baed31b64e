package disk_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/cockroachdb/pebble/v2/vfs/errorfs"
	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
	"github.com/lockserver/lockserver/server/internal/store/disk"
	"github.com/lockserver/lockserver/server/internal/store/storetest"
)

const (
	childRole = "DISK_TEST_CHILD"
	childDir  = "DISK_TEST_DIR"

	childOpens     = "opens the store"
	childFailsSync = "commits until the log can't be synced"
)

func TestMain(m *testing.M) {
	switch role := os.Getenv(childRole); role {
	case "":
		os.Exit(m.Run())
	case childOpens:
		s, err := disk.Open(os.Getenv(childDir), quiet)
		if err != nil {
			fmt.Println(err)
			return
		}
		fmt.Println("opened")
		if err := s.Close(); err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
	case childFailsSync:
		commitUntilTheLogFails()
	default:
		panic("unknown role " + role)
	}
}

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
	writes := []errorfs.OpKind{errorfs.OpFileWrite, errorfs.OpFileWriteAt}
	faults := map[string]struct {
		err   error
		match func(errorfs.Op) bool
	}{
		"full disk, log":        {syscall.ENOSPC, func(op errorfs.Op) bool { return isLog(op) && slices.Contains(writes, op.Kind) }},
		"full disk, everything": {syscall.ENOSPC, func(op errorfs.Op) bool { return slices.Contains(writes, op.Kind) || op.Kind == errorfs.OpCreate }},
		"full disk, tables": {syscall.ENOSPC, func(op errorfs.Op) bool {
			return strings.HasSuffix(op.Path, ".sst") && (op.Kind == errorfs.OpCreate || slices.Contains(writes, op.Kind))
		}},
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

func TestRefusesDamage(t *testing.T) {
	grantKey, grant, err := disk.EncodeGrant(&lock.Record{Resource: "r", Owner: "o", Token: 5})
	require.NoError(t, err)
	future := bytes.Clone(grant)
	future[0] = 9
	n := len(future) - 4
	sum := disk.Checksum(grantKey, future[:n])
	future[n], future[n+1], future[n+2], future[n+3] = byte(sum>>24), byte(sum>>16), byte(sum>>8), byte(sum)
	markKey, mark := disk.EncodeMark(4)

	for name, c := range map[string]struct {
		key, value []byte
		says       string
	}{
		"a value cut short":        {grantKey, grant[:len(grant)-1], "checksum"},
		"an empty value":           {grantKey, nil, "0 bytes"},
		"another record's value":   {[]byte("g\x00\x00\x00\x00\x00\x00\x00\x02"), grant, "checksum"},
		"a record of the future":   {grantKey, future, "record version is 9"},
		"an unknown key":           {[]byte("zebra"), []byte("stripes"), "zebra"},
		"a key of the wrong size":  {[]byte("g123"), grant, "g123"},
		"a token above the mark":   {grantKey, grant, "above the highest committed, 3"},
		"a mark that is no mark":   {markKey, []byte("mark"), `key "m"`},
		"a mark below its records": {markKey, mark[:len(mark)-1], `key "m"`},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			s := openDisk(t, dir)
			storetest.Commit(t, s, change(1), change(3))
			require.NoError(t, s.Close())
			db, err := pebble.Open(filepath.Join(dir, "db"), &pebble.Options{Logger: silent{}})
			require.NoError(t, err)
			require.NoError(t, db.Set(c.key, c.value, pebble.Sync))
			require.NoError(t, db.Close())

			for range 2 { // the refusal changes nothing
				s, err = disk.Open(dir, quiet)
				if err == nil {
					_, err = s.Load(t.Context(), func(lock.Record) error { return nil })
					require.NoError(t, s.Close())
				}
				require.ErrorIs(t, err, store.ErrCorrupt)
				require.ErrorContains(t, err, c.says)
				require.ErrorContains(t, err, dir)
			}
		})
	}
}

// silent is a logger for databases that tests open beside the store.
type silent struct{}

func (silent) Infof(string, ...any)              {}
func (silent) Errorf(string, ...any)             {}
func (silent) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }

// A byte that changed in any file of a store is found, or has changed nothing. Only in the newest commit of a log it can't be told
// from a crash that cut this commit short.
func TestFindsDamagedFiles(t *testing.T) {
	const commits, perCommit = 40, 20
	for _, noteBytes := range []int{50, 3000} { // many commits in a block of the log, many blocks in a commit
		disk0 := vfs.NewCrashableMem()
		s, err := disk.OpenFS("/data", disk0, quiet)
		require.NoError(t, err)
		for i := range int64(commits) {
			var changes []lock.Change
			for j := range int64(perCommit) {
				c := change(i*perCommit + j + 1)
				c.Record.Note = strings.Repeat("n", noteBytes)
				changes = append(changes, c)
			}
			storetest.Commit(t, s, changes...)
		}
		crashed := disk0.CrashClone(vfs.CrashCloneCfg{})
		require.NoError(t, s.Close())
		stopped := disk0.CrashClone(vfs.CrashCloneCfg{})

		refused := damageEverywhere(t, stopped, func(file string, got int) {
			require.Equal(t, commits*perCommit, got, file)
		})
		require.Positive(t, refused[".sst"])

		refused = damageEverywhere(t, crashed, func(file string, got int) {
			require.Zero(t, got%perCommit, file)
			require.GreaterOrEqual(t, got, (commits-1)*perCommit, file)
		})
		require.Positive(t, refused[".log"])
	}
}

// damageEverywhere counts by suffix the damaged files with which the store was refused, and checks how many records it had else.
func damageEverywhere(t *testing.T, base *vfs.MemFS, check func(file string, records int)) map[string]int {
	t.Helper()
	names, err := base.List("/data/db")
	require.NoError(t, err)
	refused := map[string]int{}
	for _, name := range names {
		whole := readFile(t, base, "/data/db/"+name)
		if len(whole) == 0 {
			continue
		}
		rng := rand.New(rand.NewPCG(3, uint64(len(whole))))
		for range 6 {
			fs := base.CrashClone(vfs.CrashCloneCfg{})
			damaged := bytes.Clone(whole)
			damaged[rng.IntN(len(damaged))] ^= byte(1 + rng.IntN(255))
			writeFile(t, fs, "/data/db/"+name, damaged)
			records, err := loadAll(t, fs)
			if err != nil {
				refused[filepath.Ext(name)]++
				continue
			}
			check(name, records)
		}
	}
	return refused
}

func readFile(t *testing.T, fs vfs.FS, path string) []byte {
	t.Helper()
	f, err := fs.Open(path)
	require.NoError(t, err)
	data, err := io.ReadAll(f)
	require.NoError(t, err)
	require.NoError(t, f.Close())
	return data
}

func writeFile(t *testing.T, fs vfs.FS, path string, data []byte) {
	t.Helper()
	f, err := fs.Create(path, vfs.WriteCategoryUnspecified)
	require.NoError(t, err)
	_, err = f.Write(data)
	require.NoError(t, err)
	require.NoError(t, f.Close())
}

func loadAll(t *testing.T, fs vfs.FS) (n int, err error) {
	t.Helper()
	s, err := disk.OpenFS("/data", fs, quiet)
	if err != nil {
		return 0, err
	}
	_, err = s.Load(t.Context(), func(lock.Record) error { n++; return nil })
	if err != nil {
		_ = s.Close() // it tells of the same damage
		return 0, err
	}
	return n, s.Close()
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
