package engine_test

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/cockroachdb/pebble/v2"
	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/engine"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
	"github.com/lockserver/lockserver/server/internal/store/disk"
	"github.com/lockserver/lockserver/server/internal/store/memory"
)

// Benchmarks that compare run both sides in turns, and tell their ratio: a figure alone says as much about the machine and its
// other users as about the engine.

func benchEngine(b *testing.B, s store.Store) *engine.Engine {
	b.Helper()
	e, err := engine.Open(context.Background(), engine.Config{
		Store: s, Logger: slog.New(slog.DiscardHandler),
		Bounds: lock.Bounds{MaxLocks: 2_000_000, MaxWaiters: 1_000_000, MaxRemembered: 1_000_000, MaxWait: time.Minute},
	})
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, e.Close(context.Background())) })
	return e
}

func diskStore(b *testing.B, dir string) store.Store {
	b.Helper()
	s, err := disk.Open(dir, 0, slog.New(slog.DiscardHandler))
	require.NoError(b, err)
	b.Cleanup(func() { require.NoError(b, s.Close()) })
	return s
}

// slot is a sink for one answer at a time.
type slot chan lock.Answer

func (s slot) Answer(_ uint64, a *lock.Answer) { s <- *a }

// pair acquires and releases a lock, and waits for both answers.
func pair(e *engine.Engine, s slot, req *lock.Request) error {
	e.Acquire(req, lock.Reply{To: s})
	a := <-s
	if a.Code != lock.Granted {
		return fmt.Errorf("acquire: code %d", a.Code)
	}
	e.Release(&lock.Ref{Resource: req.Resource, Owner: req.Owner, Token: a.Token}, lock.Reply{To: s})
	if a = <-s; a.Code != lock.Released {
		return fmt.Errorf("release: code %d", a.Code)
	}
	return nil
}

// BenchmarkMemoryPair acquires and releases a free lock on the store that keeps nothing, with an id and a lease.
func BenchmarkMemoryPair(b *testing.B) {
	e := benchEngine(b, memory.New())
	s := make(slot, 1)
	var owners [1024]string
	for i := range owners {
		owners[i] = owner(i)
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		req := lock.Request{Resource: owners[i%1024], Owner: owners[i>>10%1024], ID: owners[i>>20%1024], Expire: time.Minute}
		if err := pair(e, s, &req); err != nil {
			b.Fatal(err)
		}
	}
}

// rate runs work in several goroutines for a while, and returns how often it was done per second.
func rate(b *testing.B, goroutines int, work func(goroutine int) (records int, err error)) float64 {
	b.Helper()
	const turn = 500 * time.Millisecond
	var records atomic.Int64
	var wg sync.WaitGroup
	began := time.Now()
	for g := range goroutines {
		wg.Go(func() {
			for time.Since(began) < turn {
				n, err := work(g)
				if err != nil {
					b.Error(err)
					return
				}
				records.Add(int64(n))
			}
		})
	}
	wg.Wait()
	return float64(records.Load()) / time.Since(began).Seconds()
}

// BenchmarkDisk tells how many records a second the engine makes durable, each answer waiting for its own, beside what the disk and
// Pebble alone do in the same run: 64 goroutines against as many that write synced records to a bare Pebble, which commits them in
// groups; one goroutine against one that appends to a file and syncs it.
func BenchmarkDisk(b *testing.B) {
	record := make([]byte, 100)
	for _, bench := range []struct {
		goroutines int
		name       string
		bare       func(b *testing.B) func(goroutine int) (int, error)
	}{
		{64, "pebble", func(b *testing.B) func(int) (int, error) {
			db, err := pebble.Open(b.TempDir(), &pebble.Options{MemTableSize: 8 << 20, Logger: quiet{}})
			require.NoError(b, err)
			b.Cleanup(func() { require.NoError(b, db.Close()) })
			var n atomic.Int64
			return func(int) (int, error) { return 1, db.Set(fmt.Appendf(nil, "%012d", n.Add(1)), record, pebble.Sync) }
		}},
		{1, "append", func(b *testing.B) func(int) (int, error) {
			f, err := os.Create(filepath.Join(b.TempDir(), "log"))
			require.NoError(b, err)
			b.Cleanup(func() { require.NoError(b, f.Close()) })
			return func(int) (int, error) {
				if _, err := f.Write(record); err != nil {
					return 0, err
				}
				return 1, f.Sync()
			}
		}},
	} {
		b.Run(fmt.Sprintf("goroutines=%d", bench.goroutines), func(b *testing.B) {
			e := benchEngine(b, diskStore(b, b.TempDir()))
			slots := make([]slot, bench.goroutines)
			for i := range slots {
				slots[i] = make(slot, 1)
			}
			bare := bench.bare(b)
			var ours, theirs float64
			for b.Loop() {
				ours += rate(b, bench.goroutines, func(g int) (int, error) {
					return 2, pair(e, slots[g], &lock.Request{Resource: owner(g), Owner: "owner", Expire: time.Minute})
				})
				theirs += rate(b, bench.goroutines, bare)
			}
			b.ReportMetric(ours/float64(b.N), "records/s")
			b.ReportMetric(theirs/float64(b.N), bench.name+"/s")
			b.ReportMetric(ours/theirs, "ratio")
			stats := e.CommitStats()
			b.ReportMetric(float64(stats.Changes)/float64(stats.Commits), "records/commit")
		})
	}
}

// quiet is a logger for a bare Pebble.
type quiet struct{}

func (quiet) Infof(string, ...any)  {}
func (quiet) Errorf(string, ...any) {}
func (quiet) Fatalf(format string, args ...any) {
	panic(fmt.Sprintf(format, args...))
}

// stopwatch is a sink that tells when its answer came.
type stopwatch struct {
	at chan time.Time
}

func (s stopwatch) Answer(_ uint64, a *lock.Answer) {
	if a.Code == lock.Granted {
		s.at <- time.Now()
	}
}

// ignore is a sink for answers that do not matter.
type ignore struct{ wg *sync.WaitGroup }

func (s ignore) Answer(uint64, *lock.Answer) { s.wg.Done() }

// BenchmarkExpiry tells how long after its deadline a lease's successor is granted: of 100,000 leases that end within two seconds,
// 1,000 have a waiter. A grant before the deadline fails it. Bare timers for the same deadlines tell what of it is the machine's.
func BenchmarkExpiry(b *testing.B) {
	const leases, waiters, spread = 100_000, 1_000, 2 * time.Second
	for _, kind := range []string{"memory", "disk"} {
		b.Run(kind, func(b *testing.B) {
			var late, timers []time.Duration
			for b.Loop() {
				s := memory.New()
				if kind == "disk" {
					s = diskStore(b, b.TempDir())
				}
				e := benchEngine(b, s)
				var wg sync.WaitGroup
				watches := make([]stopwatch, waiters)
				earliest := make([]time.Time, waiters)
				fired := make(chan time.Duration, waiters)
				start := time.Now().Add(2 * time.Second)
				for i := range leases {
					wg.Add(1)
					now := time.Now()
					req := lock.Request{Resource: owner(i), Owner: "a", Expire: start.Add(spread / leases * time.Duration(i)).Sub(now)}
					e.Acquire(&req, lock.Reply{To: ignore{&wg}})
					if w := i / (leases / waiters); i%(leases/waiters) == 0 {
						watches[w] = stopwatch{make(chan time.Time, 1)}
						earliest[w] = now.Add(req.Expire)
						time.AfterFunc(req.Expire, func() { fired <- time.Since(earliest[w]) })
						e.Acquire(&lock.Request{Resource: req.Resource, Owner: "b", Wait: time.Minute}, lock.Reply{To: watches[w]})
					}
				}
				wg.Wait()
				require.WithinDuration(b, time.Now(), start, 2*time.Second, "too slow to take the leases before they end")
				for w := range watches {
					after := (<-watches[w].at).Sub(earliest[w])
					require.GreaterOrEqual(b, after, time.Duration(0), "granted before the deadline")
					late = append(late, after)
					timers = append(timers, <-fired)
				}
			}
			slices.Sort(late)
			slices.Sort(timers)
			b.ReportMetric(timers[len(timers)*99/100].Seconds()*1000, "timer-p99-ms")
			b.ReportMetric(late[len(late)/2].Seconds()*1000, "p50-ms")
			b.ReportMetric(late[len(late)*99/100].Seconds()*1000, "p99-ms")
			b.ReportMetric(late[len(late)-1].Seconds()*1000, "max-ms")
		})
	}
}

// BenchmarkExpiryBurst tells how long other requests take at most while 100,000 leases end in the same millisecond, beside how long they
// take when none ends.
func BenchmarkExpiryBurst(b *testing.B) {
	const leases = 100_000
	for _, kind := range []string{"memory", "disk"} {
		b.Run(kind, func(b *testing.B) {
			var burst, calm time.Duration
			for b.Loop() {
				s := memory.New()
				if kind == "disk" {
					s = diskStore(b, b.TempDir())
				}
				e := benchEngine(b, s)
				var wg sync.WaitGroup
				end := time.Now().Add(2 * time.Second)
				for i := range leases {
					wg.Add(1)
					e.Acquire(&lock.Request{Resource: owner(i), Owner: "a", Expire: time.Until(end)}, lock.Reply{To: ignore{&wg}})
				}
				wg.Wait()
				require.True(b, time.Now().Before(end), "too slow to take the leases before they end")
				calm = max(calm, slowest(b, e, end))
				burst = max(burst, slowest(b, e, time.Now().Add(time.Second)))
				require.Zero(b, e.Stats().Grants)
			}
			b.ReportMetric(calm.Seconds()*1000, "calm-max-ms")
			b.ReportMetric(burst.Seconds()*1000, "burst-max-ms")
		})
	}
}

// slowest is how long the slowest of requests takes that come one after the other.
func slowest(b *testing.B, e *engine.Engine, until time.Time) (most time.Duration) {
	s := make(slot, 1)
	timed := func(code lock.Code, ask func()) {
		began := time.Now()
		ask()
		if a := <-s; a.Code != code {
			b.Fatalf("code %d", a.Code)
		}
		most = max(most, time.Since(began))
	}
	for time.Now().Before(until) {
		timed(lock.Granted, func() { e.Acquire(&lock.Request{Resource: "other", Owner: "b"}, lock.Reply{To: s}) })
		timed(lock.Released, func() { e.Release(&lock.Ref{Resource: "other", Owner: "b"}, lock.Reply{To: s}) })
	}
	return most
}

// BenchmarkStart opens a disk store with 1,000,000 leases and starts an engine on it.
func BenchmarkStart(b *testing.B) {
	const leases, batch = 1_000_000, 10_000
	dir := b.TempDir()
	fill, err := disk.Open(dir, 0, slog.New(slog.DiscardHandler))
	require.NoError(b, err)
	_, err = fill.Load(context.Background(), func(lock.Record) error { return nil })
	require.NoError(b, err)
	var changes []lock.Change
	for i := range leases {
		changes = append(changes, lock.Change{Last: true, Record: lock.Record{
			Resource: fmt.Sprintf("resource-%011d", i), Owner: fmt.Sprintf("owner-%014d", i), ID: fmt.Sprintf("id-%017d", i),
			Token: int64(i + 1), Expire: time.Hour, Lease: time.Hour,
		}})
		if len(changes) == batch {
			require.NoError(b, fill.Commit(context.Background(), changes))
			changes = changes[:0]
		}
	}
	require.NoError(b, fill.Close())
	for b.Loop() {
		s, err := disk.Open(dir, 0, slog.New(slog.DiscardHandler))
		require.NoError(b, err)
		e, err := engine.Open(context.Background(), engine.Config{Store: s, Logger: slog.New(slog.DiscardHandler), Bounds: bounds})
		require.NoError(b, err)
		b.StopTimer()
		require.Equal(b, leases, e.Stats().Grants)
		require.NoError(b, e.Close(context.Background()))
		require.NoError(b, s.Close())
		b.StartTimer()
	}
}
