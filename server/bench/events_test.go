package bench_test

import (
	"fmt"
	"io"
	"net/http"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkWatched tells how many pairs a second a server makes, and what CPU each takes, while some read all events, compared to one
// that nobody watches, in turns.
func BenchmarkWatched(b *testing.B) {
	for _, readers := range []int{1, 100} {
		b.Run(fmt.Sprint("readers=", readers), func(b *testing.B) {
			alone, watched := lockserver(b, "memory", "--history", "0"), lockserver(b, "memory", "--history", "0")
			for range readers {
				watched.follow()
			}
			inTurns(b, "http", alone, watched)
		})
	}
}

// follow reads all events of the server until the benchmark is over.
func (p *process) follow() {
	p.b.Helper()
	req, err := http.NewRequestWithContext(p.b.Context(), http.MethodGet, "http://"+p.addr+"/events", nil)
	must(p.b, err)
	req.Header.Set("X-Lockserver-Secret", secret)
	resp, err := http.DefaultClient.Do(req)
	must(p.b, err)
	go func() {
		_, _ = io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
	}()
}

// BenchmarkHistory tells what it costs to keep the history, compared to a server that keeps none, in turns.
func BenchmarkHistory(b *testing.B) {
	for _, store := range []string{"memory", "disk"} {
		for _, over := range []string{"http", "session"} {
			b.Run("store="+store+"/over="+over, func(b *testing.B) {
				servers := make([]*process, 2)
				for i, history := range []string{"0", "100000"} {
					arg := store
					if store == "disk" {
						arg += ":" + b.TempDir()
					}
					servers[i] = lockserver(b, arg, "--history", history)
				}
				inTurns(b, over, servers[0], servers[1])
			})
		}
	}
}

// inTurns makes pairs on two servers in turns, over connections or one session, and reports the second in terms of the first: the median
// of the ratios of neighbouring turns.
func inTurns(b *testing.B, over string, servers ...*process) {
	b.Helper()
	const flows = 64
	var next atomic.Int64
	var run []func(ended func() bool) (int, error)
	for _, p := range servers {
		if over == "session" {
			s := p.session(b)
			run = append(run, func(ended func() bool) (int, error) { return s.pairs(&next, flows, ended) })
			continue
		}
		clients := make([]*client, flows)
		for i := range clients {
			clients[i] = dial(b, p.addr)
		}
		run = append(run, func(ended func() bool) (int, error) {
			return parallel(flows, func(n int) (int, error) {
				return each(ended, func() error { return pair(clients[n], n, int(next.Add(1))) })
			})
		})
	}
	for b.Loop() {
		var rates, cpus []float64
		var last [2]float64
		for turn := range 3*turns + 1 {
			var rate, cpu [2]float64
			for i, p := range servers {
				before, began := p.cpu(), time.Now()
				n, err := run[i](func() bool { return time.Since(began) >= turnTime })
				must(b, err)
				rate[i] = float64(n) / time.Since(began).Seconds()
				cpu[i] = float64(p.cpu()-before) / float64(n)
			}
			if turn == 0 {
				continue // caches were filled
			}
			rates, cpus, last = append(rates, rate[1]/rate[0]), append(cpus, cpu[1]/cpu[0]), rate
		}
		b.ReportMetric(last[0], "pairs/s-without")
		b.ReportMetric(last[1], "pairs/s")
		b.ReportMetric(median(rates), "×pairs/s")
		b.ReportMetric(median(cpus), "×CPU")
		b.ReportMetric(0, "ns/op") // it says nothing
	}
}
