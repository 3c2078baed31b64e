package bench_test

import (
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	turns    = 5
	turnTime = 400 * time.Millisecond
)

// side is one of those that are compared: it runs one turn, and returns how much it did.
type side struct {
	name string
	p    meter
	run  func(ended func() bool) (int, error)
	etcd meter // what keeps the locks of p, if that is not p itself
}

// compare runs the sides in turns, and tells the median rate of each, what its server's CPU was for one unit, and etcd's beside it, and
// rate and CPU of the session relative to the side named.
func compare(b *testing.B, unit, base string, sides []side) {
	b.Helper()
	rates := map[string][]float64{}
	cpu, beside, done := map[string]time.Duration{}, map[string]time.Duration{}, map[string]int{}
	for turn := range turns + 1 {
		for _, s := range sides {
			etcd := s.etcd
			if etcd == nil {
				etcd = processes{}
			}
			before, etcdBefore, began := s.p.cpu(), etcd.cpu(), time.Now()
			n, err := s.run(func() bool { return time.Since(began) >= turnTime })
			if err != nil {
				b.Fatalf("%s: %v", s.name, err)
			}
			if turn == 0 {
				continue // connections were made, and caches filled
			}
			rates[s.name] = append(rates[s.name], float64(n)/time.Since(began).Seconds())
			cpu[s.name] += s.p.cpu() - before
			beside[s.name] += etcd.cpu() - etcdBefore
			done[s.name] += n
		}
	}
	rate := func(name string) float64 { return median(rates[name]) }
	each := func(name string) float64 {
		return float64((cpu[name] + beside[name]).Microseconds()) / float64(done[name])
	}
	for _, s := range sides {
		b.ReportMetric(rate(s.name), s.name+"-"+unit+"/s")
		b.ReportMetric(float64(cpu[s.name].Microseconds())/float64(done[s.name]), s.name+"-µs")
		if s.etcd != nil {
			b.ReportMetric(float64(beside[s.name].Microseconds())/float64(done[s.name]), s.name+"-etcd-µs")
		}
		if done[base] > 0 && s.name == "session" {
			b.ReportMetric(rate(s.name)/rate(base), "×"+base)
			b.ReportMetric(each(s.name)/each(base), "CPU×"+base)
		}
	}
	b.ReportMetric(0, "ns/op") // it says nothing
}

func median(of []float64) float64 {
	slices.Sort(of)
	return of[len(of)/2]
}

// parallel runs n of them at once.
func parallel(n int, run func(i int) (int, error)) (int, error) {
	var sum atomic.Int64
	errs := make([]error, n)
	var group sync.WaitGroup
	for i := range n {
		group.Go(func() {
			done, err := run(i)
			sum.Add(int64(done))
			errs[i] = err
		})
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return 0, err
		}
	}
	return int(sum.Load()), nil
}

// each runs one flow that makes pair after pair.
func each(ended func() bool, pair func() error) (done int, err error) {
	for ; !ended(); done++ {
		if err := pair(); err != nil {
			return done, err
		}
	}
	return done, nil
}

// BenchmarkSessions compares acquires and releases over sessions with those over HTTP and with Redis, both with a connection for each
// flow.
func BenchmarkSessions(b *testing.B) {
	for _, store := range []string{"memory", "disk"} {
		arg := store
		if store == "disk" {
			arg += ":" + b.TempDir()
		}
		for _, shape := range []struct{ sessions, flows int }{{1, 1}, {1, 16}, {1, 64}, {1, 256}, {64, 1}} {
			b.Run(fmt.Sprintf("store=%s/sessions=%d/flows=%d", store, shape.sessions, shape.flows), func(b *testing.B) {
				ours := lockserver(b, arg)
				all := shape.sessions * shape.flows
				var sessions []*session
				for range shape.sessions {
					sessions = append(sessions, ours.session(b))
				}
				var overHTTP []*client
				for range all {
					overHTTP = append(overHTTP, dial(b, ours.addr))
				}
				var sides []side
				var next atomic.Int64
				if r := redis(b, store == "disk"); r != nil {
					var flows []*redisFlow
					for range all {
						flows = append(flows, dialRedis(b, r))
					}
					sides = append(sides, side{name: "redis", p: r, run: func(ended func() bool) (int, error) {
						return parallel(all, func(n int) (int, error) {
							return each(ended, func() error { return flows[n].pair(n, int(next.Add(1))) })
						})
					}})
				}
				sides = append(sides, side{name: "http", p: ours, run: func(ended func() bool) (int, error) {
					return parallel(all, func(n int) (int, error) {
						return each(ended, func() error { return pair(overHTTP[n], n, int(next.Add(1))) })
					})
				}}, side{name: "session", p: ours, run: func(ended func() bool) (int, error) {
					return parallel(shape.sessions, func(i int) (int, error) { return sessions[i].pairs(&next, shape.flows, ended) })
				}})
				for b.Loop() {
					compare(b, "pairs", "redis", sides)
				}
				for _, c := range overHTTP {
					_ = c.conn.Close()
				}
			})
		}
	}
}

// BenchmarkHandOffs compares how often a lock passes from one of many clients to the next: over sessions, one for each client, and over
// HTTP.
func BenchmarkHandOffs(b *testing.B) {
	for _, clients := range []int{2, 8, 64} {
		b.Run(fmt.Sprintf("clients=%d", clients), func(b *testing.B) {
			ours := lockserver(b, "memory")
			var sessions []*session
			var overHTTP []*client
			for range clients {
				sessions = append(sessions, ours.session(b))
				overHTTP = append(overHTTP, dial(b, ours.addr))
			}
			var next atomic.Int64
			sides := []side{{name: "http", p: ours, run: func(ended func() bool) (int, error) {
				return parallel(clients, func(n int) (int, error) {
					return each(ended, func() error {
						const which = `"resource":"one","owner":"worker-%d","id":"request-%d"`
						id := next.Add(1)
						if err := overHTTP[n].do("/acquire", `{`+which+`,"expire":30,"wait":60}`, n, id); err != nil {
							return err
						}
						return overHTTP[n].do("/release", `{`+which+`}`, n, id)
					})
				})
			}}, {name: "session", p: ours, run: func(ended func() bool) (int, error) {
				return parallel(clients, func(n int) (int, error) { return sessions[n].handOffs(&next, n, ended) })
			}}}
			for b.Loop() {
				compare(b, "hand-offs", "http", sides)
			}
			for _, c := range overHTTP {
				must(b, c.conn.Close())
			}
		})
	}
}

// BenchmarkFlood tells how much slower a pair of one session is while another has 8,192 operations in flight all the time. A flood of
// another server, which takes as much of the machine, shows how much of that is the machine's.
func BenchmarkFlood(b *testing.B) {
	const flood, floodTurns = 8192, 10
	p, elsewhere := lockserver(b, "memory"), lockserver(b, "memory")
	probe := p.session(b)
	floods := []struct {
		name    string
		p       *process
		session *session
	}{{"quiet", nil, nil}, {"elsewhere", elsewhere, elsewhere.session(b)}, {"flooded", p, p.session(b)}}
	var next atomic.Int64
	for b.Loop() {
		took := map[string][]time.Duration{}
		for range floodTurns {
			for _, f := range floods {
				var stop atomic.Bool
				over := make(chan error, 1)
				if f.p == nil {
					over <- nil
				} else {
					go func() {
						_, err := f.session.pairs(&next, flood, stop.Load)
						over <- err
					}()
					f.p.until("the flood is on", func(m map[string]int) bool { return m["lockserver_locks"] > flood/10 })
				}
				began := time.Now()
				_, err := probe.pairs(&next, 1, func() bool {
					took[f.name] = append(took[f.name], time.Since(began))
					began = time.Now()
					return len(took[f.name])%500 == 0
				})
				must(b, err)
				stop.Store(true)
				must(b, <-over)
			}
		}
		p99 := func(name string) time.Duration {
			slices.Sort(took[name])
			return took[name][len(took[name])*99/100]
		}
		for _, f := range floods {
			b.ReportMetric(float64(p99(f.name).Microseconds()), f.name+"-p99-µs")
		}
		b.ReportMetric(float64(p99("flooded"))/float64(p99("quiet")), "×quiet")
		b.ReportMetric(float64(p99("flooded"))/float64(p99("elsewhere")), "×elsewhere")
		b.ReportMetric(0, "ns/op") // it says nothing
	}
}
