package bench_test

import (
	"sync/atomic"
	"testing"
)

const waiters = 10_000

// BenchmarkWaiters has many requests wait for one lock over a connection each. It tells what each takes of the server's memory, has
// them all granted in turn, and then, once more waiting, vanish.
func BenchmarkWaiters(b *testing.B) {
	for b.Loop() {
		p := lockserver(b, "memory", "--max-wait", "600")
		holder := dial(b, p.addr)
		must(b, holder.do("/acquire", `{"resource":"queue","owner":"holder"}`))
		before, resident := p.metrics(), p.resident()

		clients := park(b, p)
		b.ReportMetric(float64(p.resident()-resident)/waiters, "B/waiter")
		inTurn(b, holder, clients)
		b.ReportMetric(float64(p.resident()-resident)/waiters, "B/waiter-in-the-end")
		hangUp(clients)
		p.until("the granted are gone", settled(before))

		must(b, holder.do("/acquire", `{"resource":"queue","owner":"holder"}`))
		hangUp(park(b, p))
		after := p.until("the vanished are gone", settled(before))
		b.ReportMetric(float64(after["go_goroutines"]-before["go_goroutines"]), "goroutines-left")
		b.ReportMetric(float64(after["process_open_fds"]-before["process_open_fds"]), "connections-left")
		b.ReportMetric(float64(after["lockserver_waiters"]), "waiters-left")
		must(b, holder.conn.Close())
	}
}

func settled(before map[string]int) func(map[string]int) bool {
	return func(m map[string]int) bool {
		return m["lockserver_waiters"] == 0 && m["process_open_fds"] <= before["process_open_fds"] && m["go_goroutines"] <= before["go_goroutines"]
	}
}

// park has all wait, and returns them in the order of the queue.
func park(b *testing.B, p *process) []*client {
	b.Helper()
	clients := make([]*client, waiters)
	for i := range clients {
		clients[i] = dial(b, p.addr)
		must(b, clients[i].send("/acquire", `{"resource":"queue","owner":"waiter-%05d","wait":600}`, i))
		// What is sent on different connections has an order only where the server has seen the one before the other; to ask for it each
		// time would take long, so it is asked for blocks, and order is told between blocks.
		if (i+1)%block == 0 {
			p.until("all sent wait", func(m map[string]int) bool { return m["lockserver_waiters"] == i+1 })
		}
	}
	return clients
}

// block is how many requests arrive together, in no order of their own.
const block = 500

// inTurn has each release the lock once it has it. The first of a block is granted only when all of the block before were.
func inTurn(b *testing.B, holder *client, clients []*client) {
	b.Helper()
	var turn atomic.Int64
	ended := make(chan error, len(clients))
	for i, c := range clients {
		go func() {
			if err := c.granted(); err != nil {
				ended <- err
				return
			}
			if at := turn.Add(1) - 1; int(at)/block != i/block {
				b.Errorf("waiter %d was granted as number %d", i, at)
			}
			ended <- c.do("/release", `{"resource":"queue","owner":"waiter-%05d"}`, i)
		}()
	}
	must(b, holder.do("/release", `{"resource":"queue","owner":"holder"}`))
	for range clients {
		must(b, <-ended)
	}
	if b.Failed() {
		b.FailNow()
	}
}

func hangUp(clients []*client) {
	for _, c := range clients {
		_ = c.conn.Close()
	}
}
