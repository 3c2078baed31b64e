package lock

import "time"

// Stats tells what the table holds and what has happened to it.
type Stats struct {
	Grants  int // held now
	Waiters int // places in queues now, kept ones included

	Events [eventKinds]uint64 // by kind
	Left   [whys]uint64       // waiters that left, by why

	Wait Histogram // from the first request to the grant
	Hold Histogram // from the grant to its end
}

// Histogram counts durations.
type Histogram struct {
	Counts [len(Buckets) + 1]uint64 // by bucket, not cumulated; the last counts what is above them all
	Sum    time.Duration
}

// Buckets are the upper bounds of a Histogram, from 1 ms to 1 h.
var Buckets = [...]time.Duration{
	time.Millisecond, 3 * time.Millisecond, 10 * time.Millisecond, 30 * time.Millisecond, 100 * time.Millisecond, 300 * time.Millisecond,
	time.Second, 3 * time.Second, 10 * time.Second, 30 * time.Second, 100 * time.Second, 5 * time.Minute, time.Hour,
}

// Observe counts d.
func (h *Histogram) Observe(d time.Duration) {
	i := 0
	for i < len(Buckets) && d > Buckets[i] {
		i++
	}
	h.Counts[i]++
	h.Sum += d
}

// Since returns what was counted since h was as before.
func (h *Histogram) Since(before *Histogram) Histogram {
	d := Histogram{Sum: h.Sum - before.Sum}
	for i := range h.Counts {
		d.Counts[i] = h.Counts[i] - before.Counts[i]
	}
	return d
}

// N returns how many were counted.
func (h *Histogram) N() (n uint64) {
	for _, c := range h.Counts {
		n += c
	}
	return n
}

// Quantile estimates what the part q of all were not above: within a bucket they count as evenly spread. Without any it returns 0.
func (h *Histogram) Quantile(q float64) time.Duration {
	below, low := q*float64(h.N()), time.Duration(0)
	for i, bound := range Buckets {
		n := float64(h.Counts[i])
		if n > 0 && below <= n {
			return low + time.Duration(below/n*float64(bound-low))
		}
		below, low = below-n, bound
	}
	if h.Counts[len(Buckets)] == 0 {
		return 0
	}
	return low
}

// Stats returns a copy of the counts.
func (t *Table) Stats() Stats { return t.stats }
