package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"time"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/servertest"
)

// contender is one way to take and give back locks.
type contender struct {
	name  string
	pid   int // of its server
	flows func(n int) (pairs []pair, closeAll func(), err error)
}

// transports measures pairs in turns: Redis with a connection for each flow, and the SDK over HTTP and over sessions, with one client
// for all flows and with a client for each.
func transports(ctx context.Context, o options, dir string, stores map[string]*servertest.Server) error {
	for _, store := range []string{"memory", "disk"} {
		contenders := []contender{
			sdk("HTTP, one client", stores[store], lockserver.HTTP, false),
			sdk("session, one client", stores[store], lockserver.Session, false),
			sdk("session, a client each", stores[store], lockserver.Session, true),
		}
		r, err := startRedis(dir, store == "disk")
		if err != nil {
			return err
		}
		if r == nil {
			fmt.Println("THERE IS NO redis-server ON THIS MACHINE: nothing is compared with Redis.")
		} else {
			defer r.kill()
			contenders = append([]contender{fromRedis(r)}, contenders...)
		}
		fmt.Printf("\nuncontended, %-10s store      flows      pairs/s  server CPU/pair   rate   CPU\n", store)
		for _, flows := range []int{1, 16, 64, 256} {
			if err := inTurns(ctx, o, contenders, flows); err != nil {
				return err
			}
		}
	}
	return nil
}

// inTurns measures each contender once a round, and prints medians. The ratios are to the first, round by round.
func inTurns(ctx context.Context, o options, contenders []contender, flows int) error {
	rates, cpus := make([][]float64, len(contenders)), make([][]float64, len(contenders))
	for round := range o.rounds + 1 {
		for i, c := range contenders {
			pairs, closeAll, err := c.flows(flows)
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			before, err := processTime(c.pid)
			if err != nil {
				return err
			}
			s, err := measure(ctx, o.duration, flows, func(i int) func(context.Context) error {
				resource := fmt.Sprintf("flow-%d", i)
				return func(ctx context.Context) error { return pairs[i](ctx, resource) }
			})
			if err != nil {
				return fmt.Errorf("%s: %w", c.name, err)
			}
			after, err := processTime(c.pid)
			if err != nil {
				return err
			}
			closeAll()
			if round > 0 { // the first warms up
				rates[i] = append(rates[i], s.rate)
				cpus[i] = append(cpus[i], float64((after-before).Microseconds())/(s.rate*o.duration.Seconds()))
			}
		}
	}
	for i, c := range contenders {
		fmt.Printf("%-31s %9d %12.0f %13.1f µs %6.2f %5.2f\n", c.name, flows, middle(rates[i]), middle(cpus[i]), ratio(rates[i], rates[0]), ratio(cpus[i], cpus[0]))
	}
	return nil
}

func middle(values []float64) float64 {
	samples := make([]sample, len(values))
	for i, v := range values {
		samples[i].rate = v
	}
	return median(samples).rate
}

func ratio(values, to []float64) float64 {
	ratios := make([]float64, len(values))
	for i := range values {
		ratios[i] = values[i] / to[i]
	}
	return middle(ratios)
}

func sdk(name string, server *servertest.Server, transport lockserver.Transport, each bool) contender {
	return contender{name, server.PID(), func(n int) (pairs []pair, closeAll func(), err error) {
		var clients []*lockserver.Client
		for i := range n {
			if i == 0 || each {
				client, err := newClient(server, lockserver.WithTransport(transport))
				if err != nil {
					return nil, nil, err
				}
				clients = append(clients, client)
			}
			client := clients[len(clients)-1]
			pairs = append(pairs, func(ctx context.Context, resource string) error { return acquireAndRelease(ctx, client, resource) })
		}
		return pairs, func() {
			for _, client := range clients {
				_ = client.Close() // its error is always nil
			}
		}, nil
	}}
}

func fromRedis(r *redis) contender {
	return contender{"Redis, a connection each", r.cmd.Process.Pid, func(n int) (pairs []pair, closeAll func(), err error) {
		var flows []*flow
		for range n {
			f, err := r.dial()
			if err != nil {
				return nil, nil, err
			}
			flows = append(flows, f)
			pairs = append(pairs, f.pair)
		}
		return pairs, func() {
			for _, f := range flows {
				_ = f.conn.Close() // nothing is lost
			}
		}, nil
	}}
}

// processTime is the CPU time that a process has used.
func processTime(pid int) (time.Duration, error) {
	const tick = 10 * time.Millisecond // USER_HZ is 100 on Linux
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	fields := strings.Fields(string(content[bytes.LastIndexByte(content, ')')+1:]))
	if len(fields) < 13 {
		return 0, errors.New("/proc/PID/stat is not as expected")
	}
	var sum time.Duration
	for _, f := range fields[11:13] {
		n, err := strconv.Atoi(f)
		if err != nil {
			return 0, err
		}
		sum += time.Duration(n) * tick
	}
	return sum, nil
}
