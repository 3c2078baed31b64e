package bench_test

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
	"go.uber.org/zap"

	"github.com/lockserver/lockserver/server/internal/engine"
	"github.com/lockserver/lockserver/server/internal/etcdtest"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store/etcd"
)

func TestMain(m *testing.M) { etcdtest.Main(m) }

// threeMembers starts an etcd as people run it: three members, all synced.
func threeMembers(b *testing.B) (members []*etcdtest.Member, all processes) {
	b.Helper()
	members = etcdtest.Start(b, 3)
	for _, m := range members {
		all = append(all, &process{b: b, pid: m.PID()})
	}
	return members, all
}

func dialEtcd(b *testing.B, members []*etcdtest.Member, member int) *clientv3.Client {
	b.Helper()
	c, err := clientv3.New(clientv3.Config{Endpoints: []string{members[member%len(members)].URL}, Logger: zap.NewNop(), DialTimeout: patience})
	must(b, err)
	b.Cleanup(func() { _ = c.Close() })
	return c
}

// etcdFlow is a flow of etcd's own locks: a connection and a lease of its own, as its library wants them.
type etcdFlow struct{ session *concurrency.Session }

func newEtcdFlow(b *testing.B, members []*etcdtest.Member, n int) *etcdFlow {
	b.Helper()
	s, err := concurrency.NewSession(dialEtcd(b, members, n))
	must(b, err)
	return &etcdFlow{s}
}

func (f *etcdFlow) pair(resource string) error {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	m := concurrency.NewMutex(f.session, resource)
	if err := m.Lock(ctx); err != nil {
		return err
	}
	return m.Unlock(ctx)
}

func etcdFlows(b *testing.B, members []*etcdtest.Member, flows int) (all []*etcdFlow) {
	b.Helper()
	for n := range flows {
		all = append(all, newEtcdFlow(b, members, n))
	}
	return all
}

// BenchmarkEtcdPairs compares acquires and releases over one session, on etcd, with etcd's own locks.
func BenchmarkEtcdPairs(b *testing.B) {
	members, etcds := threeMembers(b)
	ours := lockserver(b, "etcd:"+etcdtest.URLs(members)+"/bench")
	var next atomic.Int64
	for _, count := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("flows=%d", count), func(b *testing.B) {
			session, flows := ours.session(b), etcdFlows(b, members, count)
			sides := []side{{name: "etcd", p: etcds, run: func(ended func() bool) (int, error) {
				return parallel(count, func(n int) (int, error) {
					return each(ended, func() error { return flows[n].pair(fmt.Sprintf("/jobs/%d", next.Add(1))) })
				})
			}}, {name: "session", p: ours, etcd: etcds, run: func(ended func() bool) (int, error) {
				return session.pairs(&next, count, ended)
			}}}
			for b.Loop() {
				compare(b, "pairs", "etcd", sides)
			}
		})
	}
}

// BenchmarkEtcdHandOffs compares how often one lock passes from one of many clients to the next.
func BenchmarkEtcdHandOffs(b *testing.B) {
	const clients = 16
	members, etcds := threeMembers(b)
	ours := lockserver(b, "etcd:"+etcdtest.URLs(members)+"/bench")
	flows := etcdFlows(b, members, clients)
	var sessions []*session
	for range clients {
		sessions = append(sessions, ours.session(b))
	}
	var next atomic.Int64
	sides := []side{{name: "etcd", p: etcds, run: func(ended func() bool) (int, error) {
		return parallel(clients, func(n int) (int, error) {
			return each(ended, func() error { return flows[n].pair("/one") })
		})
	}}, {name: "session", p: ours, etcd: etcds, run: func(ended func() bool) (int, error) {
		return parallel(clients, func(n int) (int, error) { return sessions[n].handOffs(&next, n, ended) })
	}}}
	for b.Loop() {
		compare(b, "hand-offs", "etcd", sides)
	}
}

// BenchmarkEtcdAcquire compares an acquire that nobody contends, from request to answer, with a bare transaction that does what its
// commit has to: it compares the leader's key and the sequence, and puts a grant and the sequence.
func BenchmarkEtcdAcquire(b *testing.B) {
	const rounds = 2000
	members, _ := threeMembers(b)
	session := lockserver(b, "etcd:"+etcdtest.URLs(members)+"/bench").session(b)
	bare := dialEtcd(b, members, 0)
	leads, err := bare.Put(b.Context(), "/bare/leader", "")
	must(b, err)
	_, err = bare.Put(b.Context(), "/bare/sequence", "0")
	must(b, err)
	record := strings.Repeat("x", 120)
	transact := func(i int) {
		sequence := func(i int) string { return fmt.Sprint(i) }
		r, err := bare.Txn(b.Context()).If(
			clientv3.Compare(clientv3.CreateRevision("/bare/leader"), "=", leads.Header.Revision),
			clientv3.Compare(clientv3.Value("/bare/sequence"), "=", sequence(i)),
		).Then(clientv3.OpPut(fmt.Sprintf("/bare/grant/%d", i), record), clientv3.OpPut("/bare/sequence", sequence(i+1))).Commit()
		must(b, err)
		if !r.Succeeded {
			b.Fatal("the comparison failed")
		}
	}
	ask := func(op string, i int, more string) {
		session.add(op, 1)
		session.out = fmt.Appendf(session.out, `,"resource":"jobs/%d","owner":"worker","id":"request-%d"%s}`, i, i, more)
		must(b, session.flush())
		for answered := false; !answered; {
			must(b, session.read(func(int) { answered = true }))
		}
	}
	i := 0
	for b.Loop() {
		var ours, bares []time.Duration
		for range rounds {
			began := time.Now()
			transact(i)
			bares = append(bares, time.Since(began))
			_, err := bare.Delete(b.Context(), fmt.Sprintf("/bare/grant/%d", i))
			must(b, err)
			began = time.Now()
			ask("acquire", i, `,"expire":30`)
			ours = append(ours, time.Since(began))
			ask("release", i, "")
			i++
		}
		p50 := func(of []time.Duration) float64 {
			slices.Sort(of)
			return float64(of[len(of)/2].Microseconds())
		}
		b.ReportMetric(p50(bares), "bare-p50-µs")
		b.ReportMetric(p50(ours), "acquire-p50-µs")
		b.ReportMetric(p50(ours)/p50(bares), "×bare")
		b.ReportMetric(0, "ns/op") // it says nothing
	}
}

// BenchmarkEtcdLoad tells how long a new leader takes to load 100,000 grants.
func BenchmarkEtcdLoad(b *testing.B) {
	const grants = 100_000
	members, _ := threeMembers(b)
	cluster := etcd.New(etcd.Config{
		Endpoints: strings.Split(etcdtest.URLs(members), ","), Prefix: "/bench", TTL: patience, Logger: slog.New(slog.DiscardHandler), Leader: func(string) {},
	})
	b.Cleanup(func() { _ = cluster.Close() })
	st, err := cluster.Open(b.Context())
	must(b, err)
	_, err = st.Load(b.Context(), func(lock.Record) error { return nil })
	must(b, err)
	var changes []lock.Change
	for i := range grants {
		changes = append(changes, lock.Change{Seq: uint64(i + 1), Last: true, Record: lock.Record{
			Resource: fmt.Sprintf("jobs/%08d", i), Owner: fmt.Sprintf("worker-%04d", i%1000), ID: fmt.Sprintf("request-%08d", i),
			Lease: 30 * time.Second, Token: int64(i + 1),
		}})
	}
	must(b, st.Commit(b.Context(), changes))
	must(b, st.Close())
	for b.Loop() {
		st, err := cluster.Open(b.Context())
		must(b, err)
		began := time.Now()
		e, err := engine.Open(b.Context(), engine.Config{Store: st, Bounds: lock.Bounds{MaxLocks: 2 * grants, MaxWaiters: 1, MaxRemembered: grants}, Logger: slog.New(slog.DiscardHandler)})
		must(b, err)
		b.ReportMetric(time.Since(began).Seconds(), "s/load")
		if n := e.Stats().Grants; n != grants {
			b.Fatalf("%d grants", n)
		}
		must(b, e.Close(b.Context()))
		must(b, st.Close())
		b.ReportMetric(0, "ns/op") // it says nothing
	}
}
