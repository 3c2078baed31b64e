package play

import (
	"context"
	"sync"
	"time"
)

// Stalls notes when this process could not run although it wanted to: on a machine that stands still no bound can be kept. It
// excuses no failure, but says what may have caused it.
type Stalls struct {
	mu   sync.Mutex
	ends []stall
}

type stall struct {
	end    time.Time
	length time.Duration
}

// Watch notes stalls until ctx ends.
func (s *Stalls) Watch(ctx context.Context) {
	const tick, worth = 50 * time.Millisecond, 500 * time.Millisecond
	ticker := time.NewTicker(tick)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		now := time.Now()
		if late := now.Sub(last) - tick; late > worth {
			s.mu.Lock()
			s.ends = append(s.ends, stall{now, late})
			s.mu.Unlock()
		}
		last = now
	}
}

// longest is the longest stall that ended since then.
func (s *Stalls) longest(since time.Time) time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	var most time.Duration
	for _, x := range s.ends {
		if x.end.After(since) {
			most = max(most, x.length)
		}
	}
	return most
}
