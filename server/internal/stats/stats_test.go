package stats_test

import (
	"encoding/json"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/engine"
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/stats"
	"github.com/lockserver/lockserver/server/internal/wire"
)

// source is an engine that has counted what it is told to.
type source struct {
	mu      sync.Mutex
	table   lock.Stats
	commits engine.CommitStats
	survey  lock.Survey
}

func (s *source) Stats() lock.Stats { s.mu.Lock(); defer s.mu.Unlock(); return s.table }

func (s *source) CommitStats() engine.CommitStats { s.mu.Lock(); defer s.mu.Unlock(); return s.commits }

func (s *source) Survey() lock.Survey              { s.mu.Lock(); defer s.mu.Unlock(); return s.survey }
func (s *source) Contended(n int) []lock.Contended { return make([]lock.Contended, n) }

func (s *source) granted(n uint64, waited time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.table.Events[lock.EventGranted] += n
	for range n {
		s.table.Wait.Observe(waited)
		s.commits.Commits++
		s.commits.Took.Observe(2 * time.Millisecond)
	}
}

type figures struct {
	Time        time.Time
	Grants      float64  `json:"grants_per_second"`
	Wait        *float64 `json:"wait_p50"`
	Commit      *float64 `json:"commit_mean"`
	LongestWait float64  `json:"longest_wait"`
}

type told struct {
	Since float64
	Now   struct {
		figures
		Role, Store string
		Sessions    int
	}
	Resources []struct{}
	Series    struct {
		Step   float64
		Points []figures
	}
}

func ask(t *testing.T, r *stats.Recorder, query string) (x told) {
	t.Helper()
	var f wire.Fields
	require.Nil(t, f.DecodeQuery(wire.Stats, query))
	b, p := r.Stats(nil, &f)
	require.Nil(t, p)
	require.NoError(t, json.Unmarshal(b, &x))
	return x
}

func TestTheSeriesOfATerm(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := stats.New(stats.Config{Store: "disk", Sessions: func() int { return 7 }})
		s := &source{survey: lock.Survey{Wait: time.Minute}}
		r.Serve(s)
		x := ask(t, r, "")
		require.Equal(t, "leader disk", x.Now.Role+" "+x.Now.Store)
		require.Equal(t, 7, x.Now.Sessions)
		require.Empty(t, x.Series.Points)
		require.Nil(t, x.Now.Wait)
		require.Len(t, x.Resources, 10)
		require.Len(t, ask(t, r, "top=3").Resources, 3)

		s.granted(50, 2*time.Second)
		time.Sleep(10*time.Second + time.Millisecond)
		x = ask(t, r, "")
		require.Len(t, x.Series.Points, 1)
		p := x.Series.Points[0]
		require.InDelta(t, 5, p.Grants, .01)
		require.InDelta(t, 2, *p.Wait, 1)
		require.InDelta(t, .002, *p.Commit, 1e-9)
		require.InDelta(t, 60, p.LongestWait, 1e-9)
		require.InDelta(t, 5, x.Now.Grants, .01)

		time.Sleep(10 * time.Second)
		x = ask(t, r, "")
		require.Zero(t, x.Series.Points[1].Grants)
		require.Nil(t, x.Series.Points[1].Commit)
		require.Zero(t, x.Now.Grants)
		require.InDelta(t, 20, x.Since, .1)

		// An hour later the first are gone.
		time.Sleep(time.Hour)
		x = ask(t, r, "")
		require.Len(t, x.Series.Points, 360)
		require.Equal(t, 3590*time.Second, x.Series.Points[359].Time.Sub(x.Series.Points[0].Time))
		require.Zero(t, x.Series.Points[0].Grants)

		r.Withdraw()
		var f wire.Fields
		_, problem := r.Stats(nil, &f)
		require.Equal(t, "loading", problem.Reason)
		r.Serve(&source{})
		require.Empty(t, ask(t, r, "").Series.Points)
		r.Withdraw()
	})
}
