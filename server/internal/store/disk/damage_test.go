package disk_test

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/pebble/v2"
	"github.com/cockroachdb/pebble/v2/vfs"
	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
	"github.com/lockserver/lockserver/server/internal/store/disk"
	"github.com/lockserver/lockserver/server/internal/store/storetest"
)

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
				s, err = disk.Open(dir, 0, quiet)
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
