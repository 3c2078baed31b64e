package prove

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"

	"github.com/lockserver/lockserver/conformance"
	"github.com/lockserver/lockserver/conformance/internal/driver"
	"github.com/lockserver/lockserver/conformance/internal/place"
	"github.com/lockserver/lockserver/conformance/internal/place/local"
)

// Options of a run.
type Options struct {
	Server  string         // the binary, built with the tag faults
	Etcd    string         // the binary of etcd, for a cluster; "" for one server on its disk
	Drivers []*driver.Spec // that are built
	Fault   string         // of the server, deliberate; "" for none
	For     time.Duration
	Round   time.Duration // after so long, all comes to rest and is checked
	Drain   time.Duration // how long calls may take to end after the last fault
	Seed    uint64
	Out     string // where histories and pictures of failures go
	Log     io.Writer
}

// Usual are the options that nobody has to think about.
func Usual() Options {
	return Options{For: 5 * time.Minute, Round: 20 * time.Second, Drain: time.Minute, Out: "report/prove", Log: io.Discard}
}

// Report is what a run has shown.
type Report struct {
	Options  Options
	Lasted   time.Duration
	Rounds   int
	Checked  judged
	Outcomes map[string]int // of operations
	Faults   map[string]int64
	Wrong    []Violation
	History  string // the file; "" if nothing is wrong
}

// run is one that goes on.
type run struct {
	Options
	h        *history
	place    *local.Place
	data     string // a directory of the run's own
	disk     *disk  // of the only server; nil if its disk cannot be full
	cluster  *cluster
	servers  []*server
	links    []*link // between clients and servers
	observer *plain
	drivers  []*driver.Conn
	sdks     []*sdk
	workers  []*worker
	lanes    [][]kind
	calm     []kind // happen one after the other when a round is at rest
	happened map[string]*atomic.Int64
	starts   atomic.Int64
	names    atomic.Int64
	stop     context.CancelCauseFunc
}

func (r *run) logf(format string, args ...any) { fmt.Fprintf(r.Log, format+"\n", args...) }

// Run runs until the time is over, or something is wrong. The error is of what could not be run; violations are in the report.
func Run(ctx context.Context, o Options) (rep *Report, err error) {
	zerolog.SetGlobalLevel(zerolog.Disabled) // toxics log by themselves
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r := &run{Options: o, h: &history{began: time.Now()}, happened: map[string]*atomic.Int64{}, stop: stop}
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return nil, err
	}
	if r.place, err = local.New(o.Server); err != nil {
		return nil, err
	}
	if r.data, err = os.MkdirTemp("", "prove-"); err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(r.data)) }()
	defer func() { err = errors.Join(err, r.close()) }()
	r.logf("seed %d", o.Seed)
	setUp := r.setUp
	if o.Etcd != "" {
		setUp = r.setUpCluster
	}
	if err := setUp(ctx); err != nil {
		return nil, err
	}
	go r.h.watchMachine(ctx)
	rep = &Report{Options: o, Outcomes: map[string]int{}, Faults: map[string]int64{}}
	for r.h.now() < int64(o.For) || rep.Rounds == 0 {
		length := min(o.Round, max(o.For-time.Duration(r.h.now()), 3*time.Second))
		r.logf("round %d, at %s", rep.Rounds, at(r.h.now()))
		began := r.h.now()
		runErr := r.round(ctx, rep.Rounds, length)
		rest := r.h.now()
		j := r.h.verify(fmt.Sprintf("r%d-", rep.Rounds), o.Out, time.Minute)
		rep.Checked.add(j)
		rep.Rounds++
		r.logf("  %d operations checked so far, %d of them for their order; this round: %d, at rest %s after the faults, checked in %s",
			rep.Checked.Ops, rep.Checked.Order, j.Ops, at(rest-began-int64(length)), at(r.h.now()-rest))
		if rep.Wrong = r.h.violations(); len(rep.Wrong) > 0 || runErr != nil {
			if len(rep.Wrong) == 0 {
				return rep, runErr
			}
			break
		}
	}
	rep.Lasted = time.Duration(r.h.now())
	for _, op := range r.h.ops {
		rep.Outcomes[op.Kind+" "+op.Outcome]++
	}
	for name, n := range r.happened {
		rep.Faults[name] = n.Load()
	}
	if len(rep.Wrong) > 0 {
		rep.History = filepath.Join(o.Out, "history.jsonl")
		err = r.h.write(rep.History)
	}
	return rep, err
}

func (j *judged) add(k judged) {
	j.Ops += k.Ops
	j.Order += k.Order
	j.HandedOn += k.HandedOn
	j.Resources += k.Resources
}

// setUp starts the server and the clients.
func (r *run) setUp(ctx context.Context) error {
	var flags []string
	var err error
	if r.disk, err = mountSmall(ctx, r.data); err == nil {
		flags = []string{"--store=disk:" + filepath.Join(r.disk.path, "data"), fmt.Sprint("--disk-reserve=", diskReserve)}
	} else {
		r.logf("THE DISK IS NEVER FULL IN THIS RUN: a small file system needs root on Linux: %v", err)
	}
	s, err := startServer(ctx, r.place, "server", r.Fault, r.data, r.h, &r.starts, flags...)
	if err != nil {
		return err
	}
	r.servers = append(r.servers, s)
	r.lanes = [][]kind{r.processes(), r.network()}
	if r.disk != nil {
		r.lanes[1] = append(r.lanes[1], kind{"full disk", 1, 0, time.Second, r.fullDisk})
	}
	return r.setUpClients(ctx)
}

// setUpClients starts clients of every kind.
func (r *run) setUpClients(ctx context.Context) error {
	for _, lane := range append(slices.Clone(r.lanes), r.calm) {
		for _, k := range lane {
			r.happened[k.name] = &atomic.Int64{}
		}
	}
	through := func(name string, fails bool) (*link, error) {
		s := r.servers[len(r.links)%len(r.servers)]
		l, err := s.link(name)
		switch {
		case err != nil:
		case fails:
			r.links = append(r.links, l)
		default:
			s.spared++
		}
		return l, err
	}
	quiet, err := through("observer", false)
	if err != nil {
		return err
	}
	r.observer = newPlain(quiet.addr())
	for i := range 4 {
		l, err := through(fmt.Sprint("raw", i), true)
		if err != nil {
			return err
		}
		var w wire = newPlain(l.addr())
		name := fmt.Sprint("http", i)
		if i%2 == 1 {
			w, name = &sessions{addr: l.addr()}, fmt.Sprint("session", i)
		}
		c := &raw{name: name, wire: w, h: r.h}
		for n := range 16 {
			r.employ(fmt.Sprintf("%s/%d", name, n), c, func() int64 { return 0 })
		}
	}
	schema, err := driver.LoadSchema(conformance.Files)
	if err != nil {
		return err
	}
	for _, spec := range r.Drivers {
		l, err := through(spec.Name, true)
		if err != nil {
			return err
		}
		p, err := r.place.Driver(ctx, place.DriverSpec{Name: spec.Name, Command: spec.Command()})
		if err != nil {
			return err
		}
		conn, err := driver.Start(ctx, p, schema)
		if err != nil {
			return errors.Join(err, p.Close())
		}
		r.drivers = append(r.drivers, conn)
		for _, transport := range []string{"session", "http"} {
			name := spec.Name + "-" + transport
			c, err := newSDK(ctx, name, transport, l.addr(), conn, r.h, &r.names)
			if err != nil {
				return err
			}
			r.sdks = append(r.sdks, c)
			for n := range 4 {
				r.employ(fmt.Sprintf("%s/%d", name, n), c, func() int64 { return r.h.last("stop client " + spec.Name) })
			}
		}
	}
	return nil
}

func (r *run) employ(name string, c client, paused func() int64) {
	seed := rand.NewPCG(r.Seed, uint64(len(r.workers)+1)<<32)
	r.workers = append(r.workers, &worker{name: name, client: c, rand: rand.New(seed), h: r.h, starts: &r.starts, terms: r.cluster != nil, paused: paused}) //nolint:gosec // the same again
}

// processes is the lane of what goes wrong with processes.
func (r *run) processes() []kind {
	s := r.servers[0]
	return []kind{
		{"kill -9", 3, 0, 500 * time.Millisecond, func(ctx context.Context, f fault) error { return s.kill(ctx, f.length) }},
		{"SIGTERM", 2, 0, 500 * time.Millisecond, func(ctx context.Context, f fault) error { return s.drain(ctx, f.length) }},
		{"stop server", 2, 100 * time.Millisecond, 3 * time.Second, func(ctx context.Context, f fault) error { return hang(ctx, s.process, f.length) }},
		{"failed sync", 2, 0, 0, func(ctx context.Context, _ fault) error { return s.failSync(ctx) }},
		r.stopClient(), r.stepClock(),
	}
}

func (r *run) stopClient() kind {
	return kind{"stop client", 3, 200 * time.Millisecond, 4 * time.Second, func(ctx context.Context, f fault) error {
		if len(r.drivers) == 0 {
			return nil
		}
		d := r.drivers[f.target%len(r.drivers)]
		from := r.h.now()
		err := hang(ctx, d.Process, f.length)
		r.h.event("stop client "+d.Hello.Name, from, r.h.now())
		return err
	}}
}

func (r *run) stepClock() kind {
	return kind{"step clock of a client", 2, 200 * time.Millisecond, 2 * time.Second, func(ctx context.Context, f fault) error {
		if len(r.sdks) == 0 {
			return nil
		}
		c := r.sdks[f.target%len(r.sdks)]
		c.clock(ctx, time.Duration(f.degree-50)*200*time.Millisecond)
		pause(ctx, f.length)
		c.clock(ctx, 0)
		return nil
	}}
}

func (r *run) close() (err error) {
	for _, w := range r.workers {
		w.client.close()
	}
	for _, d := range r.drivers {
		err = errors.Join(err, d.Process.Close())
	}
	for _, s := range r.servers {
		err = errors.Join(err, s.close())
	}
	if r.cluster != nil {
		err = errors.Join(err, r.cluster.close())
	}
	if r.disk != nil {
		err = errors.Join(err, r.disk.close())
	}
	return errors.Join(err, r.place.Close())
}

// last is when an event of that name ended last.
func (h *history) last(name string) (t int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e.Event == name {
			t = max(t, e.To)
		}
	}
	return t
}

// watchMachine notes when this process could not run although it wanted to: then others could not either.
func (h *history) watchMachine(ctx context.Context) {
	const tick, worth = 20 * time.Millisecond, 300 * time.Millisecond
	for ctx.Err() == nil {
		from := h.now()
		pause(ctx, tick)
		if to := h.now(); to-from > int64(worth) {
			h.event("machine stood still", from, to)
		}
	}
}

// String is the report for people.
func (rep *Report) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d operations on %d locks in %d rounds, %s: %d grants for their order, %d hand-offs of leases that ran out\n",
		rep.Checked.Ops, rep.Checked.Resources, rep.Rounds, rep.Lasted.Round(time.Second), rep.Checked.Order, rep.Checked.HandedOn)
	for _, name := range slices.Sorted(maps.Keys(rep.Faults)) {
		fmt.Fprintf(&b, "  %5d × %s\n", rep.Faults[name], name)
	}
	for _, name := range slices.Sorted(maps.Keys(rep.Outcomes)) {
		fmt.Fprintf(&b, "  %7d %s\n", rep.Outcomes[name], name)
	}
	if len(rep.Wrong) == 0 {
		b.WriteString("no promise was broken\n")
		return b.String()
	}
	for i, w := range rep.Wrong {
		if i == 10 {
			fmt.Fprintf(&b, "and %d more\n", len(rep.Wrong)-i)
			break
		}
		fmt.Fprintf(&b, "BROKEN: %s: %s: %s\n", w.Promise, cmp.Or(w.Resource, "-"), w.What)
	}
	fmt.Fprintf(&b, "seed %d; the history is in %s\n", rep.Options.Seed, rep.History)
	return b.String()
}
