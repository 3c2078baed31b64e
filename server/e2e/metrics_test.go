package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// scrape reads the metrics as Prometheus does, and returns the values (of histograms the counts) by name and labels.
func scrape(t *testing.T, p *process) map[string]float64 {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/metrics", nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+secret)
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	defer resp.Body.Close()
	require.Equal(t, http.StatusOK, resp.StatusCode)
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(io.Reader(resp.Body))
	require.NoError(t, err)
	values := map[string]float64{}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetName()+"="+l.GetValue())
			}
			key := name
			if len(labels) > 0 {
				key += "{" + strings.Join(labels, ",") + "}"
			}
			switch {
			case m.GetHistogram() != nil:
				values[key] = float64(m.GetHistogram().GetSampleCount())
			case m.GetCounter() != nil:
				values[key] = m.GetCounter().GetValue()
			case m.GetGauge() != nil:
				values[key] = m.GetGauge().GetValue()
			}
		}
	}
	return values
}

func TestMetricsTellWhatHappened(t *testing.T) {
	t.Parallel()
	p := launch{}.start(t)
	c := newClient(t, p.url)

	first := c.acquire(t, fields{"resource": "r", "owner": "a"})
	require.Equal(t, http.StatusConflict, c.acquire(t, fields{"resource": "r", "owner": "b"}).status)
	next := c.later(t, fields{"resource": "r", "owner": "b", "wait": 30, "expire": 1})
	require.Eventually(t, func() bool { return scrape(t, p)["lockserver_waiters"] == 1 }, patience, 5*time.Millisecond)
	c.do(t, "POST", "/renew", fields{"resource": "r", "owner": "a", "token": first.Token})
	c.release(t, fields{"resource": "r", "owner": "a", "token": first.Token})
	<-next
	require.Eventually(t, func() bool { return scrape(t, p)["lockserver_locks"] == 0 }, patience, 5*time.Millisecond)
	c.acquire(t, fields{"resource": "evicted", "owner": "a"})
	c.do(t, "DELETE", "/lock?resource=evicted", nil)
	c.acquire(t, fields{"resource": "held", "owner": "a"})
	cancelled := c.later(t, fields{"resource": "held", "owner": "b", "wait": 30, "id": "x"})
	require.Eventually(t, func() bool { return scrape(t, p)["lockserver_waiters"] == 1 }, patience, 5*time.Millisecond)
	c.release(t, fields{"resource": "held", "owner": "b", "id": "x"})
	require.Equal(t, "id_used", (<-cancelled).Code)

	want := map[string]float64{
		"lockserver_locks":                               1,
		"lockserver_waiters":                             0,
		"lockserver_grants_total":                        4,
		"lockserver_renewals_total":                      1,
		"lockserver_grants_ended_total{why=released}":    1,
		"lockserver_grants_ended_total{why=expired}":     1,
		"lockserver_grants_ended_total{why=evicted}":     1,
		"lockserver_grants_ended_total{why=handed_back}": 0,
		"lockserver_waits_ended_total{why=cancelled}":    1,
		"lockserver_waits_ended_total{why=left}":         0,
		"lockserver_waits_ended_total{why=timed_out}":    0,
		"lockserver_wait_seconds":                        4,
		"lockserver_hold_seconds":                        3,
		"lockserver_store_up":                            1,
		"lockserver_sessions":                            0,

		"lockserver_requests_total{code=granted,operation=acquire}":   4,
		"lockserver_requests_total{code=locked,operation=acquire}":    1,
		"lockserver_requests_total{code=id_used,operation=acquire}":   1,
		"lockserver_requests_total{code=renewed,operation=renew}":     1,
		"lockserver_requests_total{code=released,operation=release}":  1,
		"lockserver_requests_total{code=cancelled,operation=release}": 1,
		"lockserver_requests_total{code=ok,operation=force_release}":  1,
		"lockserver_request_duration_seconds{operation=acquire}":      6,
	}
	var m map[string]float64
	// A request is counted behind its answer.
	require.EventuallyWithT(t, func(check *assert.CollectT) {
		m = scrape(t, p)
		for key, want := range want {
			got, ok := m[key]
			require.True(check, ok, "no %s in %v", key, m)
			require.Equal(check, want, got, key)
		}
	}, patience, 5*time.Millisecond)
	require.Positive(t, m["lockserver_commit_seconds"])
	require.Equal(t, m["lockserver_commit_seconds"], m["lockserver_commit_changes"])
	for key := range m {
		require.NotContains(t, key, "evicted,", "a label carries a name of a client")
		for _, label := range []string{"resource=", "owner=", "id="} {
			require.NotContains(t, key, label)
		}
	}
}
