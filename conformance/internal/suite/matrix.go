package suite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/lockserver/lockserver/conformance/internal/cases"
	"github.com/lockserver/lockserver/conformance/internal/driver"
	"github.com/lockserver/lockserver/conformance/internal/place"
	"github.com/lockserver/lockserver/conformance/internal/play"
	"github.com/lockserver/lockserver/conformance/internal/report"
)

// Wire is the column of the cases that talk to the server themselves.
const Wire = "wire"

// Entry is one driver to be tested.
type Entry struct {
	place.DriverSpec
	KnownFailures []driver.KnownFailure
}

// Matrix plays every case against every driver.
type Matrix struct {
	Stage    *play.Stage
	Cases    []*cases.Case
	Drivers  []Entry
	Wire     bool // the cases on the wire too
	Parallel int  // so many cases at once
	// Transport is the only one that is played, "" for all.
	Transport string
	// Cluster says that each server is a cluster.
	Cluster bool
}

// The transports. A driver whose SDK has sessions gets a column for each of them, which share its processes.
const (
	Session = "session"
	HTTP    = "http"
)

// actor is one driver at work.
type actor struct {
	Entry
	*Matrix
	hello driver.Hello

	mu     sync.Mutex
	shared *driver.Conn
	past   []*driver.Conn // shared ones that broke
}

// column is a driver with one of its transports, "" for the only one that it has.
type column struct {
	*actor
	name, transport string
}

// columns are those of a driver.
func (a *actor) columns() []column {
	if _, lacks := a.hello.Lacks["session"]; lacks {
		return []column{{a, a.Name, ""}}
	}
	both := []column{{a, a.Name, Session}, {a, a.Name + "-" + HTTP, HTTP}}
	return slices.DeleteFunc(both, func(c column) bool { return a.Transport != "" && a.Transport != c.transport })
}

// Play plays all, and gives the report even if it also gives an error: one that is no case's.
func (m *Matrix) Play(ctx context.Context) (*report.Report, error) {
	rep := &report.Report{Place: m.Stage.Place.Name(), Began: time.Now()}
	var actors []*actor
	var columns []column
	for _, e := range m.Drivers {
		a := &actor{Entry: e, Matrix: m}
		conn, err := a.conn(ctx)
		if err != nil {
			errs := []error{fmt.Errorf("driver %s: %w", e.Name, err)}
			for _, other := range actors {
				errs = append(errs, other.shared.Process.Close())
			}
			return rep, errors.Join(errs...)
		}
		a.hello = conn.Hello
		actors, columns = append(actors, a), append(columns, a.columns()...)
	}
	// Most cases wait most of the time. Those that start a driver of their own do not: they have a lane of their own, so that they
	// do not make the others late.
	type job func() report.Result
	var light, heavy []job
	var order []string
	for _, c := range m.Cases {
		order = append(order, c.ID)
		if c.Wire && m.Wire {
			light = append(light, func() report.Result { return m.one(ctx, c, nil, Wire, m.placeLacks(c)) })
		}
	}
	for _, c := range m.Cases { // case by case, so that the drivers share the load
		for _, col := range columns {
			play := func() report.Result { return col.play(ctx, c) }
			switch {
			case c.Wire:
			case c.Driver != nil:
				heavy = append(heavy, play)
			default:
				light = append(light, play)
			}
		}
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	lane := func(jobs []job, width int) {
		next := make(chan job, len(jobs))
		for _, j := range jobs {
			next <- j
		}
		close(next)
		for range width {
			wg.Go(func() {
				for play := range next {
					r := play()
					mu.Lock()
					rep.Results = append(rep.Results, r)
					mu.Unlock()
				}
			})
		}
	}
	lane(heavy, max(1, m.Parallel/4))
	lane(light, m.Parallel)
	wg.Wait()
	if m.Wire {
		rep.Drivers = append(rep.Drivers, report.Driver{Name: Wire, Language: "the runner itself"})
	}
	var errs []error
	for _, a := range actors {
		stderr, err := a.end(ctx)
		if err != nil {
			errs = append(errs, fmt.Errorf("driver %s: %w", a.Name, err))
		}
		for i, col := range a.columns() {
			d := report.Driver{Name: col.name, Transport: col.transport, Language: a.hello.Language, Version: a.hello.Version}
			if i == 0 {
				d.Lacks, d.Stderr = a.hello.Lacks, stderr // which are of all its columns
			}
			rep.Drivers = append(rep.Drivers, d)
		}
	}
	rep.Seconds = time.Since(rep.Began).Seconds()
	rep.Sort(order)
	return rep, errors.Join(errs...)
}

// placeLacks says what the case needs of the place and does not find there.
func (m *Matrix) placeLacks(c *cases.Case) string {
	if m.Cluster && c.Alone != "" {
		return report.Alone + c.Alone
	}
	for _, f := range c.Place {
		if reason := m.Stage.Place.Lacks(f); reason != "" {
			return f + ": " + reason
		}
	}
	return ""
}

// one plays one case, unless something lacks.
func (m *Matrix) one(ctx context.Context, c *cases.Case, actor *play.Actor, name, lacks string) report.Result {
	r := report.Result{Case: c.ID, Driver: name, Verdict: report.NotApplicable, Reason: lacks}
	if lacks != "" {
		return r
	}
	began := time.Now()
	err := m.Stage.Play(ctx, c, actor)
	r.Verdict, r.Seconds = report.Pass, time.Since(began).Seconds()
	if err != nil {
		r.Verdict, r.Failure = report.Fail, err.Error()
		if f, ok := errors.AsType[*play.Failure](err); ok {
			r.Trace, r.Stderr = f.Trace, f.Stderr
		}
	}
	return r
}

func (c column) play(ctx context.Context, one *cases.Case) report.Result {
	lacks := c.placeLacks(one)
	for _, f := range one.Features() {
		if reason, ok := c.hello.Lacks[f]; ok {
			lacks = f + ": " + reason
		}
	}
	who := &play.Actor{Hello: c.hello, Spec: c.DriverSpec, Shared: c.conn, Transport: c.transport}
	over := ""
	switch {
	case c.transport == Session && one.Transport == cases.AboutHTTP: // which such a client has to find by itself
		who.Transport, who.NoSessions, over = "auto", true, HTTP
	case c.transport == HTTP && one.Transport == cases.AboutSessions:
		lacks = "about sessions: " + one.Because
	}
	r := c.one(ctx, one, who, c.name, lacks)
	if r.Over = over; over != "" {
		r.Reason = one.Because
	}
	i := slices.IndexFunc(c.KnownFailures, func(k driver.KnownFailure) bool {
		return k.Case == one.ID && (k.Transport == "" || k.Transport == c.transport)
	})
	if i < 0 || r.Verdict == report.NotApplicable {
		return r
	}
	r.Reason = c.KnownFailures[i].Reason
	if r.Verdict == report.Fail {
		r.Verdict = report.KnownFailure
	} else {
		r.Verdict = report.UnexpectedPass
	}
	return r
}

// conn gives the driver's shared process, a new one where the last one broke: that one's cases have failed.
func (a *actor) conn(ctx context.Context) (*driver.Conn, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.shared != nil && a.shared.Broken() == nil {
		return a.shared, nil
	}
	if a.shared != nil {
		a.past = append(a.past, a.shared)
	}
	p, err := a.Stage.Place.Driver(ctx, a.DriverSpec)
	if err != nil {
		return nil, err
	}
	a.shared, err = driver.Start(ctx, p, a.Stage.Schema)
	if err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return a.shared, nil
}

// end ends the shared process, which must end well and have kept every secret.
func (a *actor) end(ctx context.Context) (string, error) {
	var stderr strings.Builder
	var errs []error
	for _, p := range a.past {
		stderr.WriteString(p.Process.Stderr())
		errs = append(errs, fmt.Errorf("a process broke: %w", p.Broken()), p.Process.Close())
	}
	ctx, cancel := context.WithTimeout(ctx, place.Ready)
	defer cancel()
	code, err := a.shared.End(ctx)
	switch {
	case err != nil:
		errs = append(errs, err)
	case code != 0:
		errs = append(errs, fmt.Errorf("at the end of its input it exited with status %d, want 0", code))
	}
	if leaks := a.shared.Leaks(); len(leaks) > 0 {
		errs = append(errs, fmt.Errorf("a secret shows in what it wrote: %s", strings.Join(leaks, "; ")))
	}
	errs = append(errs, a.shared.Process.Close())
	stderr.WriteString(a.shared.Process.Stderr())
	return stderr.String(), errors.Join(errs...)
}
