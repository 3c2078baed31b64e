package forward

import (
	"context"
	"fmt"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/lockserver/lockserver/server/internal/wire"
)

// The server that leads hands its answer to the one that passed the request on, and so cannot see whether it reaches the client. The
// latter reports how much of it the client's connection took, if that was not all of it: a request to the same path, with the name of the
// one that it is about. A session is reported when it ends, and when the server that passed it on shuts down.
const (
	reportHeader = "Lockserver-Handed-On" // the value is a number of bytes, or draining
	draining     = "draining"
)

const (
	reportTimeout  = time.Second // for all attempts
	reportAttempts = 3
	// An answer is waiting for its report for as long as it may take, unless there are very many.
	awaitReport = 10 * time.Second
	mostAwaited = 1 << 14
	// warnEvery is how long no warning must have been due for the next one, as all fail at once where the leader is gone.
	warnEvery = 10 * time.Second
)

// report tells the leader what became of its answer to a request. It returns whether the leader knows now; if not, a lock may be held for
// nobody until its lease ends.
func (f *Forwarder) report(to *leader, r *http.Request, name, said string) bool {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(r.Context()), reportTimeout)
	defer cancel()
	var err error
	for range reportAttempts {
		if err = f.attempt(ctx, to, r, name, said); err == nil || ctx.Err() != nil {
			break
		}
	}
	if now := time.Now().UnixNano(); err != nil && now-f.warned.Swap(now) > int64(warnEvery) {
		f.log.Warn("the server that leads was not told that an answer did not reach its client", "leader", to.url.String(), "error", err)
	}
	return err == nil
}

func (f *Forwarder) attempt(ctx context.Context, to *leader, r *http.Request, name, said string) error {
	out, err := http.NewRequestWithContext(ctx, r.Method, to.url.JoinPath(r.URL.Path).String(), http.NoBody)
	if err != nil {
		return err
	}
	for _, secret := range []string{"X-Lockserver-Secret", "Authorization"} {
		if value := r.Header[secret]; len(value) > 0 {
			out.Header[secret] = value
		}
	}
	out.Header.Set(header, name)
	out.Header.Set(reportHeader, said)
	resp, err := f.transport.RoundTrip(out)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("it answered %d", resp.StatusCode)
	}
	_ = resp.Body.Close()
	return err
}

// Report is what became of the answer to a request that another server passed on.
type Report struct {
	Name     string // of the request
	Handed   int64  // so many bytes of the answer were handed to the client
	Draining bool   // or the session goes on, and is to end in order
}

// NameOf returns the name of a request that another server has passed on, and "" for any other.
func NameOf(r *http.Request) string {
	if v := r.Header[header]; len(v) > 0 {
		return v[0]
	}
	return ""
}

// ReportIn returns the report that a request is; false if it is none.
func ReportIn(r *http.Request) (Report, bool, *wire.Problem) {
	said := r.Header[reportHeader]
	if len(said) == 0 {
		return Report{}, false, nil
	}
	report := Report{Name: NameOf(r), Draining: said[0] == draining}
	if report.Draining {
		return report, true, nil
	}
	var err error
	if report.Handed, err = strconv.ParseInt(said[0], 10, 64); err != nil || report.Handed < 0 {
		return report, true, &wire.Problem{Code: wire.InvalidRequest, Field: reportHeader, Detail: reportHeader + " is " + wire.Shorten([]byte(said[0])) + "; allowed: a number of bytes, or " + draining}
	}
	return report, true, nil
}

// Reports has the answers that the leader gave to requests that others passed on, and the reports of them. Either may come first.
type Reports struct {
	mu     sync.Mutex
	turned time.Time
	// by the name of the request, the newer ones and those before them, which are forgotten next
	now, before map[string]account
}

// account is an answer that awaits its report, or a report that awaits its answer.
type account struct {
	undelivered func(handed int64) // nil for a report
	handed      int64
}

// Await calls undelivered if it is reported, now or later, that only so many bytes of the answer were handed on.
func (a *Reports) Await(name string, undelivered func(handed int64)) {
	if report, met := a.meet(name, account{undelivered: undelivered}); met {
		undelivered(report.handed)
	}
}

// Take takes a report.
func (a *Reports) Take(r Report) {
	if answer, met := a.meet(r.Name, account{handed: r.Handed}); met {
		answer.undelivered(r.Handed)
	}
}

// meet returns the other one of an answer and its report, or keeps this one.
func (a *Reports) meet(name string, one account) (other account, met bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, m := range []map[string]account{a.now, a.before} {
		if other, met = m[name]; met && (other.undelivered == nil) != (one.undelivered == nil) {
			delete(m, name)
			return other, true
		}
	}
	if time.Since(a.turned) > awaitReport || len(a.now) >= mostAwaited {
		a.now, a.before, a.turned = map[string]account{}, a.now, time.Now()
	}
	a.now[name] = one
	return account{}, false
}
