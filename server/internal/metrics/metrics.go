// Package metrics tells Prometheus what the server does. No label is a resource, an owner or an id, since there is no bound to their
// number.
package metrics

import (
	"net/http"
	"runtime"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// Metrics counts requests. When it is scraped, it also collects what the engine has counted.
type Metrics struct {
	registry *prometheus.Registry
	handler  http.Handler
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	engine   *engineCollector

	mu    sync.RWMutex
	kinds map[kind]counted
}

// kind is one of the few kinds of requests that are counted apart.
type kind struct{ operation, code string }

// counted are the metrics of a kind. To find them by their labels each time takes several times as long.
type counted struct {
	requests prometheus.Counter
	duration prometheus.Observer
}

// New returns the metrics of a server of that version.
func New(version string) *Metrics {
	m := &Metrics{
		registry: prometheus.NewRegistry(),
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "lockserver_requests_total",
			Help: "Requests by operation and by the code of the answer: an error code, or how it went well.",
		}, []string{"operation", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "lockserver_request_duration_seconds",
			Help:    "Time from the headers of a request to the end of its answer. That of an acquire includes its wait.",
			Buckets: []float64{.0005, .001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"operation"}),
		engine: &engineCollector{},
		kinds:  map[kind]counted{},
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "lockserver_build_info", Help: "Always 1; its labels tell the version of the server and of Go.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	})
	build.Set(1)
	m.registry.MustRegister(m.requests, m.duration, m.engine, build,
		collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	m.handler = promhttp.HandlerFor(m.registry, promhttp.HandlerOpts{})
	return m
}

// Watch makes the metrics collect from this engine from now on. Its counts begin at 0, as after a restart.
func (m *Metrics) Watch(e Engine) { m.engine.watch(e) }

// Unwatch makes the metrics tell nothing of an engine, until Watch.
func (m *Metrics) Unwatch() { m.engine.unwatch() }

// Cluster makes the metrics tell whether this server leads, how often it began to, and how long etcd takes. It must be called before
// Watch.
func (m *Metrics) Cluster(leads func() bool, terms func() int64) {
	m.engine.cluster = true
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "lockserver_leader", Help: "1 while this server leads its cluster, 0 while it stands by.",
		}, func() float64 {
			if leads() {
				return 1
			}
			return 0
		}),
		prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "lockserver_terms_total", Help: "How often this server began to lead.",
		}, func() float64 { return float64(terms()) }))
}

// Sessions makes the metrics tell how many sessions are open.
func (m *Metrics) Sessions(open func() int) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lockserver_sessions", Help: "Open sessions.",
	}, func() float64 { return float64(open()) }))
}

// Handshakes is what the metrics need of the TLS handshakes.
type Handshakes interface {
	Under() int
	Encrypted() uint64
	Failed() uint64
	Crowded() uint64
}

// Handshakes makes the metrics tell of the TLS handshakes.
func (m *Metrics) Handshakes(h Handshakes) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lockserver_tls_handshakes", Help: "TLS handshakes under way.",
	}, func() float64 { return float64(h.Under()) }))
	for outcome, count := range map[string]func() uint64{"encrypted": h.Encrypted, "failed": h.Failed, "crowded": h.Crowded} {
		m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
			Name: "lockserver_tls_handshakes_total", ConstLabels: prometheus.Labels{"outcome": outcome},
			Help: "TLS handshakes that have ended: encrypted, failed, or crowded, which were closed because there were too many.",
		}, func() float64 { return float64(count()) }))
	}
}

// Events is what the metrics need of those who follow the events.
type Events interface {
	Readers() int
	Kept() int
	Missed() uint64
}

// Events makes the metrics tell of the readers of events.
func (m *Metrics) Events(e Events) {
	m.registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lockserver_event_readers", Help: "Readers of events.",
	}, func() float64 { return float64(e.Readers()) }), prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "lockserver_events_kept", Help: "Events that are kept for readers and for the history.",
	}, func() float64 { return float64(e.Kept()) }), prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "lockserver_events_missed_total", Help: "Events that readers missed because they, or the server, were too slow.",
	}, func() float64 { return float64(e.Missed()) }))
}

// Journal makes the metrics tell how many lines the history file lacks.
func (m *Metrics) Journal(lost func() uint64) {
	m.registry.MustRegister(prometheus.NewCounterFunc(prometheus.CounterOpts{
		Name: "lockserver_history_file_missed_total", Help: "Lines that are not in the history file, as they came too fast or the disk refused them.",
	}, func() float64 { return float64(lost()) }))
}

// Request counts one request. It allocates only for the first of its kind.
func (m *Metrics) Request(operation, code string, took time.Duration) {
	k := kind{operation, code}
	m.mu.RLock()
	c, known := m.kinds[k]
	m.mu.RUnlock()
	if !known {
		c = counted{m.requests.WithLabelValues(operation, code), m.duration.WithLabelValues(operation)}
		m.mu.Lock()
		m.kinds[k] = c
		m.mu.Unlock()
	}
	c.requests.Inc()
	c.duration.Observe(took.Seconds())
}

// ServeHTTP answers in the text format of Prometheus, or in OpenMetrics if the client asks for it.
func (m *Metrics) ServeHTTP(w http.ResponseWriter, r *http.Request) { m.handler.ServeHTTP(w, r) }
