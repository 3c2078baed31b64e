// Package prove checks the promises of the README under bad luck: real servers, real clients of every kind, a network and processes that
// fail by a seeded schedule, and a history of all that the clients were told, which is checked as a whole.
package prove

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"slices"
	"strings"
	"sync"
	"time"
)

// What an Op asked for.
const (
	acquire = "acquire"
	release = "release"
	renew   = "renew"
	check   = "check" // whether an SDK trusts a lease
	watch   = "watch" // until an SDK tells of a loss
	show    = "show"
	again   = "again" // an acquire by an id that was released
)

// How an Op ended.
const (
	granted  = "granted"
	refused  = "refused"  // others hold the lock, or wait for it
	failed   = "failed"   // an acquire gave up; whether the lock was held for it meanwhile is unknown
	released = "released" // the lock was held until then
	notHeld  = "not_held" // the lock was not held any more
	unsure   = "unsure"   // the lock may be held for a while yet
	ended    = "ended"    // the lock is not held any more; whether it was before is unknown
	renewed  = "renewed"
	trusted  = "trusted"
	lost     = "lost"
	seen     = "seen"
	idUsed   = "id_used" // an id that was released, as it has to be
)

// Op is one call of a client, with all that it was told.
type Op struct {
	Client   string  `json:"client"`
	Kind     string  `json:"kind"`
	Resource string  `json:"resource"`
	Mode     mode    `json:"mode"`
	Call     int64   `json:"call"` // nanoseconds since the run began
	Return   int64   `json:"return"`
	Outcome  string  `json:"outcome"`
	Token    int64   `json:"token,omitempty"`
	ID       string  `json:"id,omitempty"`
	Lease    float64 `json:"lease,omitempty"` // seconds; 0: none
	Kept     bool    `json:"kept,omitempty"`  // an SDK renews the lease
	Wait     bool    `json:"wait,omitempty"`
	Waited   float64 `json:"waited,omitempty"` // as the server said, of raw clients
	Left     float64 `json:"left,omitempty"`   // of the lease, as the server said
	Tries    int     `json:"tries,omitempty"`  // of raw clients: 1 if the answer is that of the only request
	Seen     []int64 `json:"seen,omitempty"`   // the tokens of the holders
	Note     string  `json:"note,omitempty"`

	after int64 // of a grant in the model: the token that was granted before it
}

// mode is how a resource is locked. Its letter begins the resource's name.
type mode struct {
	Shared bool `json:"shared,omitempty"`
	Limit  int  `json:"limit,omitempty"` // of a semaphore; 0: none
}

// event is a fault that happened, or something else that a reader of the history wants to know.
type event struct {
	Event string `json:"event"`
	From  int64  `json:"from"`
	To    int64  `json:"to"`
}

// history is what happened in a run.
type history struct {
	began time.Time

	mu     sync.Mutex
	ops    []*Op
	events []event
	wrong  []Violation
}

// Violation is a promise that was not kept.
type Violation struct {
	Promise  string
	Resource string
	What     string
}

func (h *history) now() int64 { return int64(time.Since(h.began)) }

func (h *history) add(op *Op) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.ops = append(h.ops, op)
}

// timed fills in when an operation began and ended, and keeps it.
func (h *history) timed(op *Op, do func()) {
	op.Call = h.now()
	do()
	op.Return = h.now()
	h.add(op)
}

func (h *history) event(name string, from, to int64) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, event{name, from, to})
}

func (h *history) violation(promise, resource, what string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wrong = append(h.wrong, Violation{promise, resource, what})
}

func (h *history) violations() []Violation {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.wrong)
}

// take returns the operations of the resources whose names begin so, in the order of their calls.
func (h *history) take(prefix string) map[string][]*Op {
	h.mu.Lock()
	defer h.mu.Unlock()
	byResource := map[string][]*Op{}
	for _, op := range h.ops {
		if strings.HasPrefix(op.Resource, prefix) {
			byResource[op.Resource] = append(byResource[op.Resource], op)
		}
	}
	for _, ops := range byResource {
		slices.SortFunc(ops, func(a, b *Op) int { return int(a.Call - b.Call) })
	}
	return byResource
}

// during says what happened in an interval, other than the events whose names are given.
func (h *history) during(from, to int64, kinds ...string) (all []event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.events {
		if e.From <= to && e.To >= from && (len(kinds) == 0 || slices.ContainsFunc(kinds, func(k string) bool { return strings.HasPrefix(e.Event, k) })) {
			all = append(all, e)
		}
	}
	return all
}

// write keeps the whole history in a file, one object a line.
func (h *history) write(path string) (err error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	b := bufio.NewWriter(f)
	out := json.NewEncoder(b)
	for _, e := range h.events {
		if err := out.Encode(e); err != nil {
			return err
		}
	}
	for _, op := range h.ops {
		if err := out.Encode(op); err != nil {
			return err
		}
	}
	return b.Flush()
}
