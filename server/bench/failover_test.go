package bench_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/lockserver/lockserver/server/internal/etcdtest"
)

// answer is what matters here of one.
type answer struct {
	status int
	Token  int64
	Code   string
}

// ask sends one request. An error is a status of 0.
func (p *process) ask(path, body string) (a answer) {
	req, err := http.NewRequest(http.MethodPost, "http://"+p.addr+path, strings.NewReader(body))
	if err != nil {
		return a
	}
	req.Header.Set("X-Lockserver-Secret", secret)
	resp, err := (&http.Client{Timeout: patience}).Do(req)
	if err != nil {
		return a
	}
	defer resp.Body.Close()
	if json.NewDecoder(resp.Body).Decode(&a) == nil {
		a.status = resp.StatusCode
	}
	return a
}

// untilGranted asks for a new lock until it gets one.
func (p *process) untilGranted(resource string) {
	p.b.Helper()
	for end := time.Now().Add(patience); p.ask("/acquire", fmt.Sprintf(`{"resource":%q,"owner":"next"}`, resource)).status != http.StatusOK; {
		if time.Now().After(end) {
			p.b.Fatalf("no grant in %v", patience)
		}
		time.Sleep(time.Millisecond)
	}
}

// BenchmarkFailOver tells how long after a signal to the leader a client of the server that stands by gets its next lock. Meanwhile a
// holder renews, and a rival asks for its lock: the holder must keep it.
func BenchmarkFailOver(b *testing.B) {
	const rounds = 5
	for _, signal := range []syscall.Signal{syscall.SIGKILL, syscall.SIGTERM} {
		b.Run(signal.String(), func(b *testing.B) {
			members, _ := threeMembers(b)
			store := "etcd:" + etcdtest.URLs(members) + "/bench"
			leader, standby := lockserver(b, store), lockserver(b, store)
			const held = `{"resource":"held","owner":"holder","expire":12}`
			token := standby.ask("/acquire", held).Token
			for b.Loop() {
				var took []float64
				for round := range rounds {
					var over atomic.Bool
					kept := make(chan error, 1)
					go func() { kept <- standby.keep(held, token, over.Load) }()
					must(b, syscall.Kill(leader.pid, signal))
					began := time.Now()
					standby.untilGranted(fmt.Sprintf("new-%d-%d", b.N, round))
					took = append(took, float64(time.Since(began).Milliseconds()))
					over.Store(true)
					must(b, <-kept)
					leader, standby = standby, lockserver(b, store)
				}
				b.Logf("%v: %v ms", signal, took)
				b.ReportMetric(slices.Max(took), "max-ms")
				b.ReportMetric(median(took), "p50-ms")
				b.ReportMetric(0, "ns/op") // it says nothing
			}
		})
	}
}

// keep renews a lock until that is over, and has a rival ask for it.
func (p *process) keep(held string, token int64, over func() bool) error {
	for last := false; !last; time.Sleep(50 * time.Millisecond) {
		last = over()
		renewed, rival := p.ask("/renew", held), p.ask("/acquire", strings.Replace(held, "holder", "rival", 1))
		switch {
		case renewed.status == http.StatusOK && renewed.Token != token, renewed.Code == "not_held":
			return fmt.Errorf("the holder has lost its lock: %+v", renewed)
		case rival.status == http.StatusOK:
			return fmt.Errorf("the rival got the lock: %+v", rival)
		case last && (renewed.status != http.StatusOK || rival.status != http.StatusConflict):
			return fmt.Errorf("after the fail-over: %+v, rival %+v", renewed, rival)
		}
	}
	return nil
}
