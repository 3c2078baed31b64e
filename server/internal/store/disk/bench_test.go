package disk_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store/disk"
)

func record(token int64) lock.Record {
	return lock.Record{
		Resource: fmt.Sprintf("orders/%013d", token), Owner: "worker-7.example.org", ID: fmt.Sprintf("%020d", token), Token: token,
		Expire: 30 * time.Second, Lease: 30 * time.Second,
	}
}

// BenchmarkCommit puts and deletes grants, several in a commit. Compare it with BenchmarkBarePebble of the same run.
func BenchmarkCommit(b *testing.B) {
	for _, n := range []int{1, 64, 1024} {
		b.Run(fmt.Sprint("changes=", n), func(b *testing.B) {
			s, err := disk.Open(b.TempDir(), 0, quiet)
			require.NoError(b, err)
			defer s.Close()
			changes := make([]lock.Change, n)
			token := int64(0)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				for j := range changes {
					if i%2 == 0 {
						changes[j] = lock.Change{Last: true, Record: record(token + int64(j) + 1)}
					} else {
						changes[j].Delete = true
					}
				}
				if i%2 == 0 {
					token += int64(n)
				}
				require.NoError(b, s.Commit(b.Context(), changes))
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "changes/s")
		})
	}
}

func BenchmarkBarePebble(b *testing.B) {
	for _, n := range []int{1, 64, 1024} {
		b.Run(fmt.Sprint("changes=", n), func(b *testing.B) {
			db, err := pebble.Open(b.TempDir(), &pebble.Options{Logger: silent{}})
			require.NoError(b, err)
			defer db.Close()
			key, value := make([]byte, 9), make([]byte, 94)
			token := uint64(0)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				batch := db.NewBatch()
				for j := range n {
					if i%2 == 0 {
						r := record(int64(token) + int64(j) + 1) // the same work outside the store
						copy(value, r.Resource)
						binary.BigEndian.PutUint64(key[1:], token+uint64(j)+1)
						require.NoError(b, batch.Set(key, value, nil))
					} else {
						binary.BigEndian.PutUint64(key[1:], token-uint64(n)+uint64(j)+1)
						require.NoError(b, batch.Delete(key, nil))
					}
				}
				if i%2 == 0 {
					token += uint64(n)
				}
				require.NoError(b, batch.Commit(pebble.Sync))
				require.NoError(b, batch.Close())
			}
			b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "changes/s")
		})
	}
}

// BenchmarkLoad opens and loads a store of a million leases.
func BenchmarkLoad(b *testing.B) {
	const leases = 1_000_000
	dir := b.TempDir()
	fill(b, dir, leases)
	b.ReportAllocs()
	for b.Loop() {
		s, err := disk.Open(dir, 0, quiet)
		require.NoError(b, err)
		n := 0
		_, err = s.Load(b.Context(), func(lock.Record) error { n++; return nil })
		require.NoError(b, err)
		require.Equal(b, leases, n)
		require.NoError(b, s.Close())
	}
}

// BenchmarkLoadAfterChurn loads a thousand grants that are left of two million.
func BenchmarkLoadAfterChurn(b *testing.B) {
	dir := b.TempDir()
	churn(b, dir, 2_000_000)
	for b.Loop() {
		s, err := disk.Open(dir, 0, quiet)
		require.NoError(b, err)
		n := 0
		_, err = s.Load(b.Context(), func(lock.Record) error { n++; return nil })
		require.NoError(b, err)
		require.Equal(b, kept, n)
		require.NoError(b, s.Close())
	}
	b.ReportMetric(float64(size(b, dir, "*"))/1e6, "MB")
}

// What came and went leaves no trace: not in the size of the store, nor in what is loaded.
func TestChurnLeavesNothing(t *testing.T) {
	const pairs = 300_000
	dir := t.TempDir()
	churn(t, dir, pairs)
	require.Less(t, size(t, dir, "*.sst"), int64(2<<20), "bytes of tables, of 40 MB written")
	require.Less(t, size(t, dir, "*.log"), int64(48<<20), "bytes of logs, which are used again")
	s := openDisk(t, dir)
	n := 0
	last, err := s.Load(t.Context(), func(lock.Record) error { n++; return nil })
	require.NoError(t, err)
	require.Equal(t, kept, n)
	require.EqualValues(t, pairs, last)
}

// kept is how many grants churn leaves, from all along its way.
const kept = 1000

// churn puts grants and deletes them 2000 grants later, as in a server with as many locks held, some of them renewed.
func churn(tb testing.TB, dir string, pairs int) {
	tb.Helper()
	s, err := disk.Open(dir, 0, quiet)
	require.NoError(tb, err)
	const batch, held = 1000, 2000
	var changes []lock.Change
	for first := 1; first <= pairs+held; first += batch {
		changes = changes[:0]
		for token := first; token < first+batch; token++ {
			if token <= pairs {
				r := record(int64(token))
				changes = append(changes, lock.Change{Last: true, Record: r})
				if token%10 == 0 {
					r.Lease *= 2
					changes = append(changes, lock.Change{Last: true, Record: r})
				}
			}
			if old := token - held; old > 0 && old%(pairs/kept) != 0 {
				changes = append(changes, lock.Change{Last: true, Delete: true, Record: record(int64(old))})
			}
		}
		require.NoError(tb, s.Commit(tb.Context(), changes))
	}
	require.NoError(tb, s.Close())
}

func fill(tb testing.TB, dir string, leases int) {
	tb.Helper()
	s, err := disk.Open(dir, 0, quiet)
	require.NoError(tb, err)
	var changes []lock.Change
	for token := range leases {
		changes = append(changes, lock.Change{Last: true, Record: record(int64(token) + 1)})
		if len(changes) == 1000 {
			require.NoError(tb, s.Commit(tb.Context(), changes))
			changes = changes[:0]
		}
	}
	require.NoError(tb, s.Commit(tb.Context(), changes))
	require.NoError(tb, s.Close())
}

func size(tb testing.TB, dir, pattern string) (bytes int64) {
	tb.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "db", pattern))
	require.NoError(tb, err)
	for _, f := range files {
		info, err := os.Stat(f)
		require.NoError(tb, err)
		bytes += info.Size()
	}
	return bytes
}
