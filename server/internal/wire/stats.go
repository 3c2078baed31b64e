package wire

import (
	"math"
	"strconv"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// Statistics are what a server tells of itself.
type Statistics struct {
	Role, Store string
	Since       time.Duration // for how long it has counted
	Now         Figures
	Resources   []lock.Contended
	Step        time.Duration // from one point to the next
	Points      []Figures
}

// Figures tell how things are at a time, and how they went in the seconds before it.
type Figures struct {
	Time                              time.Time
	Locks, Waiters, Sessions, Deepest int
	LongestWait, LongestHold          time.Duration

	Grants, Queued, Expired, Evicted float64 // a second
	Wait, Hold                       Quantiles
	Commits                          float64 // a second
	Commit                           Quantiles
	CommitMean                       time.Duration
}

// Quantiles are those of N durations.
type Quantiles struct {
	N        uint64
	P50, P99 time.Duration
}

// AppendStats appends the answer to a request for them.
func AppendStats(b []byte, s *Statistics) []byte {
	b = appendSeconds(b, `{"since":`, s.Since)
	b = appendText(b, `,"now":{"role":`, s.Role)
	b = appendText(b, `,"store":`, s.Store)
	b = appendFigures(append(b, ','), &s.Now)
	b = append(b, `},"resources":[`...)
	for i := range s.Resources {
		if i > 0 {
			b = append(b, ',')
		}
		b = appendContended(b, &s.Resources[i])
	}
	b = appendSeconds(b, `],"series":{"step":`, s.Step)
	b = append(b, `,"points":[`...)
	for i := range s.Points {
		if i > 0 {
			b = append(b, ',')
		}
		b = append(appendFigures(append(b, '{'), &s.Points[i]), '}')
	}
	return append(b, "]}}\n"...)
}

func appendFigures(b []byte, f *Figures) []byte {
	b = appendTime(b, `"time":`, f.Time)
	b = appendInt(b, `,"locks":`, int64(f.Locks))
	b = appendInt(b, `,"waiters":`, int64(f.Waiters))
	b = appendInt(b, `,"sessions":`, int64(f.Sessions))
	b = appendInt(b, `,"deepest_queue":`, int64(f.Deepest))
	b = appendSeconds(b, `,"longest_wait":`, f.LongestWait)
	b = appendSeconds(b, `,"longest_hold":`, f.LongestHold)
	b = appendFixed(b, `,"grants_per_second":`, f.Grants, 1e3)
	b = appendFixed(b, `,"waits_per_second":`, f.Queued, 1e3)
	b = appendFixed(b, `,"expired_per_second":`, f.Expired, 1e3)
	b = appendFixed(b, `,"evicted_per_second":`, f.Evicted, 1e3)
	b = appendFixed(b, `,"commits_per_second":`, f.Commits, 1e3)
	b = appendQuantile(b, `,"wait_p50":`, f.Wait.N, f.Wait.P50)
	b = appendQuantile(b, `,"wait_p99":`, f.Wait.N, f.Wait.P99)
	b = appendQuantile(b, `,"hold_p50":`, f.Hold.N, f.Hold.P50)
	b = appendQuantile(b, `,"hold_p99":`, f.Hold.N, f.Hold.P99)
	b = appendQuantile(b, `,"commit_mean":`, f.Commit.N, f.CommitMean)
	return appendQuantile(b, `,"commit_p99":`, f.Commit.N, f.Commit.P99)
}

func appendContended(b []byte, c *lock.Contended) []byte {
	b = appendText(b, `{"resource":`, c.Resource)
	b = appendInt(b, `,"waits":`, int64(c.Waits))
	b = appendInt(b, `,"hand_offs":`, int64(c.HandOffs))
	b = appendQuantile(b, `,"wait_p50":`, c.HandOffs, c.Wait50)
	b = appendQuantile(b, `,"wait_p99":`, c.HandOffs, c.Wait99)
	b = appendQuantile(b, `,"hold_p50":`, uint64(c.Holds), c.Hold50)
	b = appendQuantile(b, `,"hold_p99":`, uint64(c.Holds), c.Hold99)
	b = appendInt(b, `,"waiters":`, int64(c.Waiters))
	b = appendInt(b, `,"holders":`, int64(c.Holders))
	return append(b, '}')
}

// appendQuantile appends d in seconds, rounded to 1 µs, or null if it is one of none.
func appendQuantile(b []byte, key string, n uint64, d time.Duration) []byte {
	if n == 0 {
		return append(append(b, key...), "null"...)
	}
	return appendFixed(b, key, d.Seconds(), 1e6)
}

// appendFixed appends a number, rounded to so many parts of 1.
func appendFixed(b []byte, key string, f, parts float64) []byte {
	return strconv.AppendFloat(append(b, key...), math.Round(f*parts)/parts, 'f', -1, 64)
}
