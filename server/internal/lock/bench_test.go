//go:build unix

package lock_test

import (
	"fmt"
	"runtime"
	"syscall"
	"testing"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// discard is a sink for benchmarks.
type discard struct{}

func (discard) Answer(uint64, *lock.Answer) {}

// BenchmarkPair acquires and releases a free lock with an id and a lease, beside locks that are held.
func BenchmarkPair(b *testing.B) {
	for _, leases := range []int{1_000, 1_000_000} {
		b.Run(fmt.Sprintf("held=%d", leases), func(b *testing.B) {
			table, out := newTable()
			fill(table, out, leases, true)
			resources, owners, ids := names("free", 1024), names("owner", 1024), names("id", 1024)
			sink := discard{}
			now := int64(2)
			b.ReportAllocs()
			began := cpuTime()
			for i := 0; b.Loop(); i++ { // no id comes twice
				now += 100
				req := lock.Request{Resource: resources[i%1024], Owner: owners[i>>10%1024], ID: ids[i>>20%1024], Expire: time.Minute}
				table.Acquire(now, &req, lock.Reply{To: sink})
				table.Settle(now, &out.Answers[0])
				table.Release(now, &lock.Ref{Resource: req.Resource, Owner: req.Owner, Token: out.Answers[0].Answer.Token}, lock.Reply{To: sink})
				clear(out.Answers)
				out.Answers, out.Changes = out.Answers[:0], out.Changes[:0]
			}
			b.ReportMetric(float64(cpuTime()-began)/float64(b.N), "cpu-ns/op")
		})
	}
}

// cpuTime is what the process has used. On a machine that others use too it tells more than the time that has passed.
func cpuTime() time.Duration {
	var used syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &used); err != nil {
		panic(err)
	}
	return time.Duration(used.Utime.Nano() + used.Stime.Nano())
}

// BenchmarkVanish has 10,000 waiters of one lock go away, whose places are kept.
func BenchmarkVanish(b *testing.B) {
	benchQueue(b, func(table *lock.Table, tickets []lock.Ticket) {
		for _, ticket := range tickets {
			table.Leave(2, ticket)
		}
	})
}

// BenchmarkTimeouts has the waits of 10,000 waiters of one lock end, each of whom is told its position.
func BenchmarkTimeouts(b *testing.B) {
	benchQueue(b, func(table *lock.Table, tickets []lock.Ticket) {
		table.Advance(1+int64(time.Minute), len(tickets))
	})
}

func benchQueue(b *testing.B, run func(*lock.Table, []lock.Ticket)) {
	owners := names("owner", 10_000)
	var spent time.Duration
	for b.Loop() {
		b.StopTimer()
		table, out := newTable()
		table.Acquire(1, &lock.Request{Resource: "resource", Owner: "holder"}, lock.Reply{To: discard{}})
		table.Settle(1, &out.Answers[0])
		tickets := make([]lock.Ticket, len(owners))
		for i := range owners {
			tickets[i] = table.Acquire(1, &lock.Request{Resource: "resource", Owner: owners[i], ID: "id", Wait: time.Minute}, lock.Reply{To: discard{}})
		}
		b.StartTimer()
		began := cpuTime()
		run(table, tickets)
		spent += cpuTime() - began
	}
	b.ReportMetric(float64(spent)/float64(b.N), "cpu-ns/op")
}

// BenchmarkLeaseMemory tells the live heap of one held lease. Resource, owner and id are 20 bytes each.
func BenchmarkLeaseMemory(b *testing.B) {
	for _, withID := range []bool{true, false} {
		b.Run(fmt.Sprintf("id=%v", withID), func(b *testing.B) {
			const leases = 1_000_000
			for range b.N {
				before := liveHeap()
				table, out := newTable()
				fill(table, out, leases, withID)
				b.ReportMetric(float64(liveHeap()-before)/leases, "B/lease")
				runtime.KeepAlive(table)
			}
		})
	}
}

func newTable() (*lock.Table, *lock.Effects) {
	out := &lock.Effects{}
	bounds := lock.Bounds{MaxLocks: 2_000_000, MaxWaiters: 100_000, MaxRemembered: 1_000_000, MaxWait: time.Minute}
	return lock.New(bounds, 1, out), out
}

// fill takes leases of an hour.
func fill(table *lock.Table, out *lock.Effects, leases int, withID bool) {
	for i := range leases {
		req := lock.Request{Resource: fmt.Sprintf("resource-%011d", i), Owner: fmt.Sprintf("owner-%014d", i), Expire: time.Hour}
		if withID {
			req.ID = fmt.Sprintf("id-%017d", i)
		}
		table.Acquire(1, &req, lock.Reply{To: discard{}})
		table.Settle(1, &out.Answers[0])
		clear(out.Answers)
		clear(out.Changes)
		out.Answers, out.Changes = out.Answers[:0], out.Changes[:0]
	}
}

func names(prefix string, n int) []string {
	s := make([]string, n)
	for i := range s {
		s[i] = fmt.Sprintf("%s-%d", prefix, i)
	}
	return s
}

func liveHeap() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}
