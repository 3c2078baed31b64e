package lock

import (
	"math/bits"
	"time"
)

// Spread counts durations finely enough to tell their percentiles: each bucket ends at most a quarter above where it begins. It takes
// half a kilobyte. The zero Spread is empty.
type Spread struct {
	counts [128]uint32
	n      uint32
	most   time.Duration
}

// spreadUnit is the width of the first four buckets. From then on four buckets double the duration, up to 19 hours.
const spreadUnit = 14 // 2^14 ns

// spreadBucket is the bucket that d counts in.
func spreadBucket(d time.Duration) int {
	v := uint64(max(d, 0)) >> spreadUnit
	if v < 4 {
		return int(v)
	}
	octave := bits.Len64(v) - 1
	return min(4*(octave-1)+int(v>>(octave-2))&3, len(Spread{}.counts)-1)
}

// Observe counts d.
func (s *Spread) Observe(d time.Duration) {
	s.counts[spreadBucket(d)]++
	s.n++
	s.most = max(s.most, d)
}

// Count returns how many were counted.
func (s *Spread) Count() int { return int(s.n) }

// Quantile returns what the part q of all were not above, to within a quarter. Without any it returns 0.
func (s *Spread) Quantile(q float64) time.Duration {
	below := uint32(q * float64(s.n))
	for i, n := range s.counts {
		if below < n && i < len(s.counts)-1 {
			return min(spreadBound(i), s.most)
		}
		below -= n
	}
	return s.most
}

// spreadBound is where the bucket ends, if it is not the last.
func spreadBound(i int) time.Duration {
	if i < 4 {
		return time.Duration(i+1) << spreadUnit
	}
	return time.Duration(i%4+5) << (i/4 - 1 + spreadUnit)
}
