// Command bench measures the SDK against real server processes, beside a bare net/http client that makes the same requests in the same
// run. It exits with 1 where the SDK costs more client CPU than -max-ratio of it.
package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	lockserver "github.com/lockserver/lockserver/sdk-go"
	"github.com/lockserver/lockserver/sdk-go/internal/servertest"
)

func main() {
	var o options
	flag.DurationVar(&o.duration, "duration", 500*time.Millisecond, "of one measurement")
	flag.IntVar(&o.rounds, "rounds", 5, "measurements of each kind, taken in turn; the median counts")
	flag.Float64Var(&o.maxRatio, "max-ratio", 1.3, "most client CPU that the SDK may cost, compared with bare net/http (the time depends on what else the machine does)")
	flag.StringVar(&o.only, "only", "", "transports or hand-offs: nothing else")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

type options struct {
	duration time.Duration
	rounds   int
	maxRatio float64
	only     string
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "lockserver-sdk-go-bench-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	binary, err := servertest.Build(dir)
	if err != nil {
		return err
	}
	stores := map[string]*servertest.Server{}
	for name, store := range map[string]string{"memory": "memory", "disk": "disk:" + filepath.Join(dir, "data")} {
		server, err := servertest.Start(binary, dir, "--store", store, "--log-level", "error")
		if err != nil {
			return err
		}
		defer server.Kill()
		stores[name] = server
	}
	fmt.Printf("%s, GOMAXPROCS %d; client and server on one machine; median of %d x %v\n\n", runtime.Version(), runtime.GOMAXPROCS(0), o.rounds, o.duration)
	if o.only != "transports" {
		if err := handOffs(ctx, o, stores); err != nil {
			return err
		}
	}
	if o.only == "" {
		if err := uncontended(ctx, o, stores["memory"]); err != nil {
			return err
		}
	}
	if o.only == "hand-offs" {
		return nil
	}
	return transports(ctx, o, dir, stores)
}

// pair is one acquire and one release of a resource.
type pair func(ctx context.Context, resource string) error

func acquireAndRelease(ctx context.Context, client *lockserver.Client, resource string) error {
	lock, err := client.Acquire(ctx, resource)
	if err != nil {
		return err
	}
	released, err := lock.Release(ctx)
	if err == nil && !released {
		err = errors.New("the lock was not held any more")
	}
	return err
}

// sample is what one measurement found.
type sample struct {
	rate   float64 // pairs a second
	cpu    float64 // microseconds of this process for a pair
	allocs float64 // heap allocations for a call
}

func uncontended(ctx context.Context, o options, server *servertest.Server) error {
	client, err := newClient(server)
	if err != nil {
		return err
	}
	defer client.Close()
	scope := func(context.Context) error { return nil }
	kinds := []struct {
		name string
		pair pair
	}{
		{"bare net/http", newBare(server.URL).pair},
		{"SDK", func(ctx context.Context, resource string) error {
			return acquireAndRelease(ctx, client, resource)
		}},
		{"SDK, scope", func(ctx context.Context, resource string) error { return client.WithLock(ctx, resource, scope) }},
	}
	fmt.Println("uncontended, memory store  goroutines      pairs/s  client CPU/pair  allocs/call   time   CPU")
	worst := 0.0
	for _, goroutines := range []int{1, 16, 64} {
		samples := make([][]sample, len(kinds))
		for range o.rounds + 1 {
			for i, kind := range kinds {
				s, err := measure(ctx, o.duration, goroutines, func(i int) func(context.Context) error {
					resource := fmt.Sprintf("bench-%d", i)
					return func(ctx context.Context) error { return kind.pair(ctx, resource) }
				})
				if err != nil {
					return fmt.Errorf("%s: %w", kind.name, err)
				}
				samples[i] = append(samples[i], s)
			}
		}
		for i, kind := range kinds {
			m := median(samples[i][1:])        // the first round warms up
			ratios := make([]sample, o.rounds) // round by round, so that a machine that is busy for a while slows both
			for r := range ratios {
				b, s := samples[0][r+1], samples[i][r+1]
				ratios[r] = sample{rate: b.rate / s.rate, cpu: s.cpu / b.cpu}
			}
			time, cpu := median(ratios).rate, median(ratios).cpu
			fmt.Printf("%-27s %9d %12.0f %13.1f µs %12.1f %5.2fx %4.2fx\n", kind.name, goroutines, m.rate, m.cpu, m.allocs, time, cpu)
			if kind.name == "SDK" {
				worst = max(worst, cpu)
			}
		}
	}
	fmt.Printf("\nthe SDK costs at most %.2f times the CPU of the bare client\n", worst)
	if worst > o.maxRatio {
		return fmt.Errorf("that is more than %.2f", o.maxRatio)
	}
	return nil
}

// handOffs passes one lock from client to client, over HTTP and over sessions in turns.
func handOffs(ctx context.Context, o options, stores map[string]*servertest.Server) error {
	fmt.Printf("%-24s clients   hand-offs/s  server CPU/hand-off   rate   CPU\n", "hand-offs of one lock")
	for _, store := range []string{"memory", "disk"} {
		for _, clients := range []int{2, 8, 64} {
			contenders := []contender{
				contended(sdk(store+", HTTP", stores[store], lockserver.HTTP, true)),
				contended(sdk(store+", session", stores[store], lockserver.Session, true)),
			}
			if err := inTurns(ctx, o, contenders, clients); err != nil {
				return err
			}
		}
	}
	fmt.Println()
	return nil
}

// contended has all flows take the same lock.
func contended(c contender) contender {
	flows := c.flows
	c.flows = func(n int) (pairs []pair, closeAll func(), err error) {
		pairs, closeAll, err = flows(n)
		for i, one := range pairs {
			pairs[i] = func(ctx context.Context, _ string) error { return one(ctx, "contended") }
		}
		return pairs, closeAll, err
	}
	return c
}

// measure has goroutines do for a while, again and again, what work returns for each of them.
func measure(ctx context.Context, d time.Duration, goroutines int, work func(int) func(context.Context) error) (sample, error) {
	var stop atomic.Bool
	var pairs atomic.Int64
	failures := make(chan error, goroutines)
	var group sync.WaitGroup
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	cpu, start := cpuTime(), time.Now()
	for i := range goroutines {
		pair := work(i)
		group.Go(func() {
			done := int64(0)
			for !stop.Load() && ctx.Err() == nil {
				if err := pair(ctx); err != nil {
					failures <- err
					return
				}
				done++
			}
			pairs.Add(done)
		})
	}
	time.Sleep(d)
	stop.Store(true)
	group.Wait()
	took, used := time.Since(start), cpuTime()-cpu
	runtime.ReadMemStats(&after)
	select {
	case err := <-failures:
		return sample{}, err
	default:
	}
	n := float64(pairs.Load())
	return sample{
		rate: n / took.Seconds(), cpu: float64(used.Nanoseconds()) / 1000 / n, allocs: float64(after.Mallocs-before.Mallocs) / (2 * n),
	}, ctx.Err()
}

func median(samples []sample) sample {
	pick := func(value func(sample) float64) float64 {
		values := make([]float64, len(samples))
		for i, s := range samples {
			values[i] = value(s)
		}
		slices.Sort(values)
		return values[len(values)/2]
	}
	return sample{
		rate:   pick(func(s sample) float64 { return s.rate }),
		cpu:    pick(func(s sample) float64 { return s.cpu }),
		allocs: pick(func(s sample) float64 { return s.allocs }),
	}
}

func cpuTime() time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		panic(err) // it has no way to fail with these arguments
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

func newClient(server *servertest.Server, more ...lockserver.Option) (*lockserver.Client, error) {
	return lockserver.New(append(more, lockserver.WithAddr(server.URL), lockserver.WithSecret(servertest.Secret), lockserver.WithoutDotEnv())...)
}

// bare is what one writes without an SDK: the same two requests over net/http, without retries, bounds, or anything to clean up.
type bare struct {
	url    string
	client *http.Client
}

func newBare(url string) *bare {
	return &bare{url, &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1024}}}
}

type acquire struct {
	Resource string  `json:"resource"`
	Owner    string  `json:"owner"`
	Wait     float64 `json:"wait"`
}

type release struct {
	Resource string `json:"resource"`
	Owner    string `json:"owner"`
	Token    int64  `json:"token"`
}

func (b *bare) pair(ctx context.Context, resource string) error {
	var granted struct {
		Token int64 `json:"token"`
	}
	if err := b.post(ctx, "/acquire", acquire{resource, "bare", 10}, &granted); err != nil {
		return err
	}
	return b.post(ctx, "/release", release{resource, "bare", granted.Token}, &struct{}{})
}

func (b *bare) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, b.url+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("X-LOCKSERVER-SECRET", servertest.Secret)
	request.Header.Set("Content-Type", "application/json")
	response, err := b.client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s answered %d: %s", path, response.StatusCode, text)
	}
	return json.Unmarshal(text, out)
}
