package prove

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/lockserver/lockserver/conformance/internal/place/local"
)

// SoakOptions are those of a soak: one server on its disk, under a steady load of clients that come and go.
type SoakOptions struct {
	Server  string // the binary, built with the tag faults
	Fault   string // of the server, deliberate; "" for none
	For     time.Duration
	Every   time.Duration // between two lines
	Clients int           // of each kind
	Pause   time.Duration // of a client after a round of its work, on average
	Seed    uint64
	Out     string // where the samples and the plot go
	Log     io.Writer
}

// UsualSoak are the options that nobody has to think about, for that long.
func UsualSoak(length time.Duration) SoakOptions {
	return SoakOptions{
		For: length, Every: min(max(length/60, 200*time.Millisecond), time.Minute), Clients: 12, Pause: 50 * time.Millisecond,
		Out: "report/soak", Log: io.Discard,
	}
}

// SoakReport is what a soak has shown.
type SoakReport struct {
	Samples []Sample
	Ops     int64
	Errors  int64            // operations without an answer, or with one that cannot be
	Failed  map[string]int64 // those, by what they were and how they failed
	Levels  []Level
	Plot    string // the file
}

// remembered is how many ids the server remembers, so few that all its memory of them is in use soon.
const remembered = 50_000

// Soak runs until the time is over. The error is of what could not be run.
func Soak(ctx context.Context, o SoakOptions) (rep *SoakReport, err error) {
	if err := os.MkdirAll(o.Out, 0o755); err != nil {
		return nil, err
	}
	where, err := local.New(o.Server)
	if err != nil {
		return nil, err
	}
	data, err := os.MkdirTemp("", "soak-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(data)) }()
	defer func() { err = errors.Join(err, where.Close()) }()
	var starts atomic.Int64
	folder := filepath.Join(data, "store")
	s, err := startServer(ctx, where, "soak", o.Fault, data, &history{}, &starts,
		"--store=disk:"+folder, fmt.Sprintf("--max-remembered=%d", remembered))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	load := startChurn(ctx, s.process.Addr(), o)
	defer load.stop()
	w := watcher{addr: s.process.Addr(), folder: folder, load: load}
	rep = &SoakReport{}
	table, err := os.Create(filepath.Join(o.Out, "samples.csv"))
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, table.Close()) }()
	fmt.Fprintln(table, csvHeader())
	for began := time.Now(); time.Since(began) < o.For; {
		sample, err := w.sample(ctx, o.Every)
		if err != nil {
			return rep, errors.Join(err, context.Cause(ctx))
		}
		sample.At = time.Since(began)
		rep.Samples = append(rep.Samples, sample)
		fmt.Fprintln(o.Log, sample)
		fmt.Fprintln(table, sample.csv())
	}
	rep.Ops, rep.Errors = load.ops.Load(), load.errors.Load()
	load.stop()
	rep.Failed = load.failed
	rep.Levels = levels(rep.Samples)
	rep.Plot = filepath.Join(o.Out, "soak.svg")
	return rep, os.WriteFile(rep.Plot, []byte(plot(rep.Samples, rep.Levels)), 0o600)
}

// Wrong says what grows, and what else is not as it should be.
func (rep *SoakReport) Wrong() (all []string) {
	for _, l := range rep.Levels {
		if l.Grows() {
			all = append(all, l.String())
		}
	}
	if len(rep.Levels) == 0 {
		all = append(all, "too short to tell whether anything grows")
	}
	if rep.Errors*1000 > rep.Ops || rep.Ops == 0 {
		all = append(all, fmt.Sprintf("%d of %d operations failed", rep.Errors, rep.Ops))
	}
	return all
}

// String is the report for people.
func (rep *SoakReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d operations, %d of them failed\n", rep.Ops, rep.Errors)
	for _, what := range slices.Sorted(maps.Keys(rep.Failed)) {
		fmt.Fprintf(&b, "  %5d × %s\n", rep.Failed[what], what)
	}
	for _, l := range rep.Levels {
		fmt.Fprintf(&b, "  %s\n", l)
	}
	for _, w := range rep.Wrong() {
		fmt.Fprintf(&b, "GROWS: %s\n", w)
	}
	if len(rep.Wrong()) == 0 {
		b.WriteString("nothing grows\n")
	}
	fmt.Fprintf(&b, "the plot is %s\n", rep.Plot)
	return b.String()
}
