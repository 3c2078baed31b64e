package e2e

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// settled waits until nothing is left of the sessions and of what waited on them. It polls, as only the server knows. A kept place is
// given up after 10 s, so this takes as long.
func settled(t *testing.T, p *process, before map[string]float64) {
	t.Helper()
	for end := time.Now().Add(3 * patience); ; time.Sleep(50 * time.Millisecond) {
		now := scrape(t, p)
		var left []string
		for _, name := range []string{"lockserver_sessions", "lockserver_waiters", "lockserver_locks", "go_goroutines", "process_open_fds"} {
			require.Contains(t, now, name)
			if now[name] > before[name] {
				left = append(left, fmt.Sprint(name, " ", now[name], ", before ", before[name]))
			}
		}
		if left == nil {
			return
		}
		if time.Now().After(end) {
			require.Fail(t, "something is left", strings.Join(left, "; "))
		}
	}
}

// many dials as many sessions. They answer pings, and count the other answers.
func (p *process) many(n int) (all []*wire, answers *atomic.Int64) {
	p.t.Helper()
	all, answers = make([]*wire, n), &atomic.Int64{}
	var dialling sync.WaitGroup
	const dialers = 16
	for first := range dialers {
		dialling.Go(func() {
			for i := first; i < n; i += dialers {
				w, err := dialSession(p.t.Context(), p.addr)
				if err != nil {
					p.t.Error(err)
					return
				}
				all[i] = w
				_ = w.SetDeadline(time.Time{})
				go func() {
					for {
						got, err := w.read()
						if err != nil {
							return
						}
						answers.Add(int64(len(got)))
					}
				}()
			}
		})
	}
	dialling.Wait()
	p.t.Cleanup(func() {
		for _, w := range all {
			if w != nil {
				_ = w.Close()
			}
		}
	})
	if p.t.Failed() {
		p.t.FailNow()
	}
	return all, answers
}

// A hundred thousand waits on a hundred sessions take little memory, and nothing is left of them once the sessions are cut. The
// collector of this server runs early, so that what is allocated is what is used.
func TestManyWaitsOnSessions(t *testing.T) {
	t.Parallel()
	const sessions, waits = 100, 1000
	p := launch{args: []string{"--store", "memory", "--max-waiters", "100000"}, env: []string{"GOGC=10"}}.start(t)
	c := newClient(t, p.url)
	c.acquire(t, fields{"resource": "r", "owner": "holder"})
	before := scrape(t, p)
	all, answers := p.many(sessions)
	idle := scrape(t, p)
	for i, w := range all {
		var text []string
		for n := range waits {
			text = append(text, w.request("acquire", fields{"resource": "r", "owner": fmt.Sprint("worker-", i), "id": fmt.Sprint("request-", n), "wait": 600}))
		}
		require.NoError(t, w.write("["+strings.Join(text, ",")+"]"))
	}
	var parked map[string]float64
	require.Eventually(t, func() bool {
		parked = scrape(t, p)
		return parked["lockserver_waiters"] == sessions*waits
	}, 3*patience, 20*time.Millisecond)
	const heap = "go_memstats_heap_alloc_bytes"
	each := (parked[heap] - idle[heap]) / (sessions * waits)
	t.Logf("%.0f B a parked wait, %.0f B a session", each, (idle[heap]-before[heap])/sessions)
	require.Less(t, each, 400.0)
	require.Zero(t, answers.Load())
	require.InDelta(t, 409, c.acquire(t, fields{"resource": "r", "owner": "another"}).status, 0, "the server serves others")
	for _, w := range all {
		require.NoError(t, w.Close())
	}
	settled(t, p, before)
}

// Ten thousand idle sessions take little memory, and nothing is left of them once they are cut.
func TestManySessions(t *testing.T) {
	t.Parallel()
	const sessions = 10_000
	moreFiles(t, sessions+1000)
	p := launch{args: []string{"--store", "memory"}, env: []string{"GOGC=10"}}.start(t)
	before := scrape(t, p)
	all, answers := p.many(sessions)
	const heap = "go_memstats_heap_alloc_bytes"
	var idle map[string]float64
	require.Eventually(t, func() bool { // a session is counted only after its client has the answer
		idle = scrape(t, p)
		return idle["lockserver_sessions"] == sessions
	}, patience, 20*time.Millisecond)
	each := (idle[heap] + idle["go_memstats_stack_inuse_bytes"] - before[heap] - before["go_memstats_stack_inuse_bytes"]) / sessions
	t.Logf("%.0f B a session, its stack included", each)
	require.Less(t, each, 30_000.0)
	for _, w := range all[:100] {
		require.NoError(t, w.write(w.request("show", fields{"resource": "r"})))
	}
	require.Eventually(t, func() bool { return answers.Load() == 100 }, patience, time.Millisecond)
	for _, w := range all {
		require.NoError(t, w.Close())
	}
	settled(t, p, before)
}

// moreFiles lets this process, and those it starts, have so many open files. Where they may not, the test fails: it would show nothing.
func moreFiles(t *testing.T, n uint64) {
	t.Helper()
	var limit syscall.Rlimit
	require.NoError(t, syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit))
	if limit.Cur >= n {
		return
	}
	limit.Cur = n
	require.NoError(t, syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit), "at least %d open files are needed: ulimit -n", n)
}
