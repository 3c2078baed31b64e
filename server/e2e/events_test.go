package e2e

import (
	"bufio"
	"encoding/json"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/stretchr/testify/require"
)

// follow opens a stream of events, and returns the data of one after the other; the channel is closed at the end of the stream.
func follow(t *testing.T, p *process, query, last string) <-chan map[string]any {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/events?"+query, nil)
	require.NoError(t, err)
	req.Header.Set("Authorization", "Bearer "+secret)
	if last != "" {
		req.Header.Set("Last-Event-ID", last)
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(t, err)
	require.Equal(t, http.StatusOK, resp.StatusCode)
	events := make(chan map[string]any, 1000)
	go func() {
		defer close(events)
		defer resp.Body.Close()
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			if data, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var e map[string]any
				if err := json.Unmarshal([]byte(data), &e); err != nil {
					t.Error(err)
				}
				events <- e
			}
		}
	}()
	return events
}

// A reader sees each grant of a durable server, and its stream ends with the server, which it does not hold up.
func TestEventsOfADurableServer(t *testing.T) {
	t.Parallel()
	p := launch{args: []string{"--store", "disk:" + t.TempDir() + "/data"}}.start(t)
	c := newClient(t, p.url)
	events := follow(t, p, "", "")
	require.EqualValues(t, 1, scrape(t, p)["lockserver_event_readers"])
	for range 100 {
		got := c.acquire(t, fields{"resource": "r", "owner": "o"})
		require.Equal(t, 200, got.status)
		e := <-events
		require.Equal(t, "granted", e["kind"])
		require.EqualValues(t, got.Token, e["token"])
		require.Equal(t, 200, c.release(t, fields{"resource": "r", "owner": "o"}).status)
		require.Equal(t, "released", (<-events)["kind"])
	}
	require.Zero(t, scrape(t, p)["lockserver_events_missed_total"])
	p.signal(syscall.SIGTERM)
	require.Equal(t, "draining", (<-events)["kind"])
	_, more := <-events
	require.False(t, more)
	require.Equal(t, 0, p.exitCode())
}
