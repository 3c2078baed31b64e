package lockserver

import (
	"bytes"
	"context"
	"encoding/json"
	"time"
)

// Stats is what a server has counted since it began to serve.
type Stats struct {
	Since     time.Duration // how long ago that was
	Resources []Contention  // those that others waited for most often come first
}

// Contention is how often others waited for a resource, and for how long. Percentiles are up to a quarter too high, and negative if there
// is nothing to take them of.
type Contention struct {
	Resource         string
	Waits            int64         // places taken in its queue
	HandOffs         int64         // those that ended with the lock
	WaitP50, WaitP99 time.Duration // of the latter
	HoldP50, HoldP99 time.Duration // of the grants that ended since somebody had to wait
	Waiters, Holders int           // now
}

// Stats returns what the server has counted, with at most as many resources as given (0: 10, most: 100). In a cluster it is the leader that
// counts. It asks again and gives up as [Client.List] does.
func (c *Client) Stats(ctx context.Context, top int) (*Stats, error) {
	var answer wireStats
	if err := c.look(ctx, "", &opStats, &statsRequest{Top: top}, &answer); err != nil {
		return nil, err
	}
	s := &Stats{Since: duration(answer.Since), Resources: make([]Contention, len(answer.Resources))}
	for i, r := range answer.Resources {
		s.Resources[i] = Contention{
			Resource: r.Resource, Waits: r.Waits, HandOffs: r.HandOffs, WaitP50: percentile(r.WaitP50), WaitP99: percentile(r.WaitP99),
			HoldP50: percentile(r.HoldP50), HoldP99: percentile(r.HoldP99), Waiters: r.Waiters, Holders: r.Holders,
		}
	}
	return s, nil
}

// MarshalJSON writes the figures as the server's GET /stats has them: times in seconds, and null for what was not measured.
func (s Stats) MarshalJSON() ([]byte, error) {
	w := wireStats{Since: s.Since.Seconds(), Resources: make([]wireContention, len(s.Resources))}
	for i, r := range s.Resources {
		w.Resources[i] = wireContention{
			Resource: r.Resource, Waits: r.Waits, HandOffs: r.HandOffs, WaitP50: ifMeasured(r.WaitP50), WaitP99: ifMeasured(r.WaitP99),
			HoldP50: ifMeasured(r.HoldP50), HoldP99: ifMeasured(r.HoldP99), Waiters: r.Waiters, Holders: r.Holders,
		}
	}
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false) // who embeds the figures decides
	err := e.Encode(w)
	return b.Bytes(), err
}

func ifMeasured(d time.Duration) *float64 {
	if d < 0 {
		return nil
	}
	seconds := d.Seconds()
	return &seconds
}

func percentile(seconds *float64) time.Duration {
	if seconds == nil {
		return -1
	}
	return duration(*seconds)
}

type statsRequest struct {
	Top int `json:"top,omitempty"`
}

type wireStats struct {
	Since     float64          `json:"since"`
	Resources []wireContention `json:"resources"`
}

func (w *wireStats) missing(int) string { return absent("resources", w.Resources == nil) }

type wireContention struct {
	Resource string   `json:"resource"`
	Waits    int64    `json:"waits"`
	HandOffs int64    `json:"hand_offs"`
	WaitP50  *float64 `json:"wait_p50"`
	WaitP99  *float64 `json:"wait_p99"`
	HoldP50  *float64 `json:"hold_p50"`
	HoldP99  *float64 `json:"hold_p99"`
	Waiters  int      `json:"waiters"`
	Holders  int      `json:"holders"`
}
