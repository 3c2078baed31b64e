package bench_test

import (
	"fmt"
	"sync"
	"testing"
	"time"
)

const (
	connections = 8
	rounds      = 6
	pairs       = 500 // of each connection in a round
)

// BenchmarkPair tells the CPU that a server uses for an acquire and a release over bare HTTP, each of a resource of its own, and how it compares to a
// minimal server, which does the same work in turns with ours.
func BenchmarkPair(b *testing.B) {
	for _, store := range []string{"memory", "disk"} {
		b.Run("store="+store, func(b *testing.B) {
			arg := store
			if store == "disk" {
				arg += ":" + b.TempDir()
			}
			bare, ours := run(b, build(b, ".", "./minimal")), lockserver(b, arg)
			load(b, bare, 0)
			load(b, ours, 0)
			for b.Loop() {
				var bareTime, ourTime time.Duration
				for round := range rounds {
					bareTime += load(b, bare, round+1)
					ourTime += load(b, ours, round+1)
				}
				const all = rounds * connections * pairs
				b.ReportMetric(float64(bareTime.Microseconds())/all, "bare-µs/pair")
				b.ReportMetric(float64(ourTime.Microseconds())/all, "µs/pair")
				b.ReportMetric(float64(ourTime)/float64(bareTime), "×bare")
			}
		})
	}
}

// load makes one round of pairs, and returns the CPU time that the server used for it.
func load(b *testing.B, p *process, round int) time.Duration {
	b.Helper()
	before := p.cpu()
	var wg sync.WaitGroup
	for n := range connections {
		c := dial(b, p.addr)
		wg.Go(func() {
			defer c.conn.Close()
			for i := range pairs {
				if err := pair(c, n, round*pairs+i); err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	if b.Failed() {
		b.FailNow()
	}
	return p.cpu() - before
}

func pair(c *client, n, i int) error {
	const which = `"resource":"jobs/%08d-%03d","owner":"worker-%04d","id":"request-%08d"`
	if err := c.do("/acquire", `{`+which+`,"expire":30}`, i, n, n, i); err != nil {
		return fmt.Errorf("acquire: %w", err)
	}
	if err := c.do("/release", `{`+which+`}`, i, n, n, i); err != nil {
		return fmt.Errorf("release: %w", err)
	}
	return nil
}
