// Package stats tells how a server does: how things are now, how they went in the last hour, and which locks others wait for most. It
// only reads what the engine counts anyway, and looks at all locks every few seconds.
package stats

import (
	"context"
	"sync"
	"time"

	"github.com/lockserver/lockserver/server/internal/engine"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// Source is what the recorder needs of the engine.
type Source interface {
	Stats() lock.Stats
	CommitStats() engine.CommitStats
	Survey() lock.Survey
	Contended(n int) []lock.Contended
}

// Config is what a recorder needs.
type Config struct {
	Store    string // its kind
	Sessions func() int
	Step     time.Duration // between two points of the series; 0: 10 s
}

// kept is how many points there are at most: an hour of them. They take 80 KB.
const kept = 360

// Recorder keeps the series of a term, which begins with Serve and ends with Withdraw.
type Recorder struct {
	cfg Config

	mu     sync.Mutex
	source Source // nil between terms
	stop   context.CancelFunc
	began  time.Time
	last   [2]sample      // the newest, and the one before it
	points []wire.Figures // the newest at the end
}

// New makes a recorder that has nothing to tell yet.
func New(cfg Config) *Recorder {
	if cfg.Step == 0 {
		cfg.Step = 10 * time.Second
	}
	return &Recorder{cfg: cfg}
}

// Serve begins a term: the engine is now s, whose counts begin at 0.
func (r *Recorder) Serve(s Source) {
	ctx, stop := context.WithCancel(context.Background())
	first := r.sample(s)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.source, r.stop, r.began, r.points = s, stop, time.Now(), nil
	r.last = [2]sample{first, first}
	go r.record(ctx, s)
}

// Withdraw ends a term, and forgets its series.
func (r *Recorder) Withdraw() {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.stop != nil {
		r.stop()
	}
	r.source, r.points = nil, nil
}

// record adds a point to the series at every step.
func (r *Recorder) record(ctx context.Context, s Source) {
	tick := time.NewTicker(r.cfg.Step)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		now := r.sample(s)
		r.mu.Lock()
		if ctx.Err() == nil {
			if len(r.points) == kept {
				r.points = append(r.points[:0], r.points[1:]...)
			}
			r.points = append(r.points, now.since(&r.last[0]))
			r.last = [2]sample{now, r.last[0]}
		}
		r.mu.Unlock()
	}
}

// Stats appends how the server does, and the locks that others wait for most.
func (r *Recorder) Stats(b []byte, f *wire.Fields) ([]byte, *wire.Problem) {
	r.mu.Lock()
	s := r.source
	r.mu.Unlock()
	if s == nil {
		return b, wire.Loading()
	}
	now, most := r.sample(s), s.Contended(int(f.Number(wire.FieldTop)))
	r.mu.Lock()
	defer r.mu.Unlock()
	return wire.AppendStats(b, &wire.Statistics{
		Role: "leader", Store: r.cfg.Store, Since: now.at.Sub(r.began), Now: now.since(&r.last[1]), Resources: most, Step: r.cfg.Step,
		Points: r.points,
	}), nil
}

// sample is all counts at one time.
type sample struct {
	at       time.Time
	table    lock.Stats
	commits  engine.CommitStats
	survey   lock.Survey
	sessions int
}

func (r *Recorder) sample(s Source) sample {
	return sample{at: time.Now(), table: s.Stats(), commits: s.CommitStats(), survey: s.Survey(), sessions: r.cfg.Sessions()}
}

// since returns how things are at s, and how they went since the sample before.
func (s *sample) since(before *sample) wire.Figures {
	a, b := &s.table, &before.table
	seconds := max(s.at.Sub(before.at), time.Millisecond).Seconds()
	rate := func(now, then uint64) float64 { return float64(now-then) / seconds }
	event := func(kind lock.EventKind) float64 { return rate(a.Events[kind], b.Events[kind]) }
	f := wire.Figures{
		Time: s.at, Locks: a.Grants, Waiters: a.Waiters, Sessions: s.sessions, Deepest: s.survey.Deepest, LongestWait: s.survey.Wait,
		LongestHold: s.survey.Hold, Grants: event(lock.EventGranted), Queued: event(lock.EventQueued), Expired: event(lock.EventExpired),
		Evicted: event(lock.EventEvicted), Commits: rate(s.commits.Commits, before.commits.Commits),
		Wait: quantiles(&a.Wait, &b.Wait), Hold: quantiles(&a.Hold, &b.Hold), Commit: quantiles(&s.commits.Took, &before.commits.Took),
	}
	if n := f.Commit.N; n > 0 {
		f.CommitMean = (s.commits.Took.Sum - before.commits.Took.Sum) / time.Duration(n)
	}
	return f
}

func quantiles(now, before *lock.Histogram) wire.Quantiles {
	h := now.Since(before)
	return wire.Quantiles{N: h.N(), P50: h.Quantile(.5), P99: h.Quantile(.99)}
}
