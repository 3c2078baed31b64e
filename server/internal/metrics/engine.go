package metrics

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/lockserver/lockserver/server/internal/engine"
	"github.com/lockserver/lockserver/server/internal/lock"
)

// Engine is what the metrics need of the engine.
type Engine interface {
	Stats() lock.Stats
	CommitStats() engine.CommitStats
	Survey() lock.Survey
	Err() error
	Full() bool
}

// engineCollector turns the engine's own counts into metrics, so that counting costs the engine almost nothing.
type engineCollector struct {
	engine  atomic.Pointer[Engine]
	cluster bool // it is that of a server of a cluster
}

func (c *engineCollector) watch(e Engine) { c.engine.Store(&e) }
func (c *engineCollector) unwatch()       { c.engine.Store(nil) }

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc("lockserver_"+name, help, labels, nil)
}

var (
	locks      = describe("locks", "Grants held now.")
	waiters    = describe("waiters", "Places in queues now, kept ones included.")
	deepest    = describe("deepest_queue", "Places in the longest queue now.")
	oldestWait = describe("longest_wait_seconds", "The longest that a request waits for a lock now, from its first request on.")
	oldestHold = describe("longest_hold_seconds", "The longest that a lock is held now.")
	stuck      = describe("stuck_holders", "Holders of a lock that others wait for, both for longer than --stuck-after.")
	grants     = describe("grants_total", "Locks granted.")
	renewals   = describe("renewals_total", "Leases renewed.")
	ends       = describe("grants_ended_total", "Grants that ended, by why.", "why")
	waitsEnded = describe("waits_ended_total", "Waits that ended without a grant, by why: cancelled by id, left by a client that went away, or timed out.", "why")
	wait       = describe("wait_seconds", "Time from the first request for a lock to its grant.")
	hold       = describe("hold_seconds", "Time from a grant to its end.")
	commit     = describe("commit_seconds", "Time that the store took to make a batch of changes durable.")
	confirm    = describe("confirm_seconds", "Time that etcd took to confirm that this server leads, before answers that changed nothing.")
	batch      = describe("commit_changes", "Changes in a batch.")
	storeUp    = describe("store_up", "1 while the store works; 0 after it failed, just before the server exits.")
	storeFull  = describe("store_full", "1 while the store has no room for more grants, 0 else.")
)

// Describe implements prometheus.Collector.
func (c *engineCollector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{
		locks, waiters, deepest, oldestWait, oldestHold, stuck, grants, renewals, ends, waitsEnded, wait, hold, commit, confirm, batch, storeUp, storeFull,
	} {
		to <- d
	}
}

// Collect implements prometheus.Collector. It collects nothing if there is no engine yet.
func (c *engineCollector) Collect(to chan<- prometheus.Metric) {
	e := c.engine.Load()
	if e == nil {
		return
	}
	s, commits := (*e).Stats(), (*e).CommitStats()
	gauge := func(d *prometheus.Desc, v float64) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v)
	}
	count := func(d *prometheus.Desc, n uint64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.CounterValue, float64(n), labels...)
	}
	gauge(locks, float64(s.Grants))
	gauge(waiters, float64(s.Waiters))
	found := (*e).Survey()
	gauge(deepest, float64(found.Deepest))
	gauge(oldestWait, found.Wait.Seconds())
	gauge(oldestHold, found.Hold.Seconds())
	gauge(stuck, float64(found.Stuck))
	flag := func(d *prometheus.Desc, on bool) {
		v := 0.0
		if on {
			v = 1
		}
		gauge(d, v)
	}
	flag(storeUp, (*e).Err() == nil)
	flag(storeFull, (*e).Full())
	count(grants, s.Events[lock.EventGranted])
	count(renewals, s.Events[lock.EventRenewed])
	for _, kind := range []lock.EventKind{lock.EventReleased, lock.EventExpired, lock.EventEvicted, lock.EventHandedBack} {
		count(ends, s.Events[kind], kind.String())
	}
	count(waitsEnded, s.Left[lock.WhyCancelled], "cancelled")
	count(waitsEnded, s.Left[lock.WhyGone], "left")
	count(waitsEnded, s.Left[lock.WhyTimedOut], "timed_out")
	to <- histogram(wait, &s.Wait)
	to <- histogram(hold, &s.Hold)
	to <- histogram(commit, &commits.Took)
	if c.cluster {
		to <- histogram(confirm, &commits.Confirmed)
	}
	to <- sizes(batch, &commits)
}

// histogram cumulates the counts, as Prometheus wants them.
func histogram(d *prometheus.Desc, h *lock.Histogram) prometheus.Metric {
	buckets := make(map[float64]uint64, len(lock.Buckets))
	var n uint64
	for i, bound := range lock.Buckets {
		n += h.Counts[i]
		buckets[bound.Seconds()] = n
	}
	n += h.Counts[len(lock.Buckets)]
	return prometheus.MustNewConstHistogram(d, n, h.Sum.Seconds(), buckets)
}

func sizes(d *prometheus.Desc, c *engine.CommitStats) prometheus.Metric {
	buckets := make(map[float64]uint64, len(c.Sizes)-1)
	var n uint64
	for i, count := range c.Sizes[:len(c.Sizes)-1] {
		n += count
		buckets[float64(uint64(1)<<i)] = n
	}
	return prometheus.MustNewConstHistogram(d, c.Commits, float64(c.Changes), buckets)
}
