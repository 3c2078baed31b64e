package prove

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// A measure is what must not grow.
type measure struct {
	name   string
	unit   float64 // what is counted is divided by it
	metric string  // of the server; "" if it comes from elsewhere
	share  float64 // of what it was, that it may grow by
	more   float64 // and so much besides
}

const (
	storeSize = "store, MiB"
	// Slowest is the name of the measure of how long calls take that wait for nobody.
	Slowest = "p99, ms"
)

var measures = []measure{
	{"resident memory, MiB", 1 << 20, "process_resident_memory_bytes", 0.1, 8},
	{"heap, MiB", 1 << 20, "go_memstats_heap_alloc_bytes", 0.1, 4},
	{"goroutines", 1, "go_goroutines", 0.1, 50},
	{"descriptors", 1, "process_open_fds", 0.1, 50},
	{storeSize, 1 << 20, "", 0.25, 16},
	{Slowest, 1, "", 1, 25},
}

// Sample is what was seen in an interval: the least of each measure, as the heap, and the store, go up and down by themselves.
type Sample struct {
	At     time.Duration
	Ops    int64 // since the run began
	Rate   float64
	Values []float64 // of the measures
	Late   float64   // p99 of how late a sleep ended, in milliseconds: no call can be faster
	Load   string    // of the machine, in the last minute; "" if nobody knows
}

// String is the sample as a line.
func (s Sample) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%7s  %9d operations, %6.0f/s", s.At.Round(time.Second/10), s.Ops, s.Rate)
	for i, m := range measures {
		fmt.Fprintf(&b, "  %s %.1f", strings.ReplaceAll(m.name, ",", ""), s.Values[i])
	}
	fmt.Fprintf(&b, "  p99 of a sleep ms %.1f", s.Late)
	if s.Load != "" {
		fmt.Fprintf(&b, "  load %s", s.Load)
	}
	return b.String()
}

func csvHeader() string {
	line := "seconds,operations,operations/s"
	for _, m := range measures {
		line += "," + strings.ReplaceAll(m.name, ",", "")
	}
	return line + ",p99 of a sleep ms,load"
}

func (s Sample) csv() string {
	line := fmt.Sprintf("%.1f,%d,%.0f", s.At.Seconds(), s.Ops, s.Rate)
	for _, v := range s.Values {
		line += fmt.Sprintf(",%.2f", v)
	}
	return line + fmt.Sprintf(",%.2f,", s.Late) + s.Load
}

// watcher looks at a server from outside.
type watcher struct {
	addr   string
	folder string
	load   *churn
	ops    int64
}

// looks is how often it looks in an interval.
const looks = 10

func (w *watcher) sample(ctx context.Context, length time.Duration) (s Sample, err error) {
	began := time.Now()
	for range looks {
		pause(ctx, length/looks)
		values, err := w.look(ctx)
		if err != nil {
			return s, err
		}
		if s.Values == nil {
			s.Values = values
		}
		for i, v := range values {
			s.Values[i] = min(s.Values[i], v)
		}
	}
	times, late := w.load.take()
	s.Values[len(measures)-1], s.Late = p99(times), p99(late)
	s.Ops = w.load.ops.Load()
	s.Rate = float64(s.Ops-w.ops) / time.Since(began).Seconds()
	w.ops = s.Ops
	if text, err := os.ReadFile("/proc/loadavg"); err == nil {
		s.Load, _, _ = strings.Cut(string(text), " ")
	}
	return s, nil
}

// p99 is in milliseconds.
func p99(times []time.Duration) float64 {
	if len(times) == 0 {
		return 0
	}
	slices.Sort(times)
	return times[len(times)*99/100].Seconds() * 1000
}

func (w *watcher) look(ctx context.Context) (values []float64, err error) {
	values = make([]float64, len(measures))
	p := newPlain(w.addr)
	defer p.close()
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+"/metrics", http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("X-LOCKSERVER-SECRET", secret)
	resp, err := p.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	lines := bufio.NewScanner(resp.Body)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		for i, m := range measures {
			if m.metric != "" && m.metric == name {
				if values[i], err = strconv.ParseFloat(text, 64); err != nil {
					return nil, err
				}
				values[i] /= m.unit
			}
		}
	}
	for i, m := range measures {
		if m.metric != "" && values[i] == 0 {
			return nil, fmt.Errorf("/metrics was answered %d, and has no %s", resp.StatusCode, m.metric)
		}
		if m.name == storeSize {
			size, err := folderSize(w.folder)
			if err != nil {
				return nil, err
			}
			values[i] = float64(size) / m.unit
		}
	}
	return values, lines.Err()
}

// folderSize is that of all files but the reserve. Files may go while it counts.
func folderSize(folder string) (size int64, err error) {
	err = filepath.WalkDir(folder, func(_ string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != "RESERVE" {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				size += info.Size()
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return size, err
}
