package wire

import (
	"encoding/json"
	"slices"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// Done is an operation that has its answer: who asked for what, and what came of it.
type Done struct {
	Op                        Operation
	Time                      time.Time
	From, Resource, Owner, ID string
	Token                     int64
	Result                    string
}

// AppendDone appends a line that tells of it.
func AppendDone(b []byte, d *Done) []byte {
	b = appendText(b, `{"op":`, d.Op.String())
	b = appendTime(b, `,"time":`, d.Time)
	b = appendText(b, `,"from":`, d.From)
	b = appendText(b, `,"resource":`, d.Resource)
	b = appendOptional(b, `,"owner":`, d.Owner)
	b = appendOptional(b, `,"id":`, d.ID)
	b = appendToken(b, `,"token":`, d.Token)
	b = appendText(b, `,"result":`, d.Result)
	return append(b, "}\n"...)
}

// AppendMissed appends a line that tells how many lines are not there.
func AppendMissed(b []byte, at time.Time, n int64) []byte {
	b = appendInt(b, `{"missed":`, n)
	return append(appendTime(b, `,"time":`, at), "}\n"...)
}

// ParseEvent reads what AppendEvent has written.
func ParseEvent(text []byte) (e Event, ok bool) {
	var w struct {
		Event                                      int64
		Kind, Resource, Owner, ID, Note, Mode, Why string
		By                                         string
		Time                                       time.Time
		Token                                      int64
		Limit                                      int32
		ExpiresIn                                  *float64 `json:"expires_in"`
		Waiters                                    int
		Waited                                     float64
		HeldFor                                    float64 `json:"held_for"`
	}
	if json.Unmarshal(text, &w) != nil {
		return e, false
	}
	kinds := lock.EventKinds()
	i := slices.IndexFunc(kinds, func(k lock.EventKind) bool { return k.String() == w.Kind })
	if i < 0 {
		return e, false
	}
	seconds := func(s float64) time.Duration { return time.Duration(s * float64(time.Second)).Round(time.Millisecond) }
	e = Event{Number: w.Event, Time: w.Time, Event: lock.Event{
		Kind: kinds[i], Resource: w.Resource, Owner: w.Owner, ID: w.ID, Note: w.Note, Token: w.Token, Limit: w.Limit, By: w.By,
		Waiters: w.Waiters, Lasted: seconds(max(w.Waited, w.HeldFor)), ExpiresIn: lock.NoLease,
	}}
	switch {
	case w.Limit > 0:
		e.Mode = lock.Semaphore
	case w.Mode == "shared":
		e.Mode = lock.Shared
	}
	if w.ExpiresIn != nil {
		e.ExpiresIn = seconds(*w.ExpiresIn)
	}
	for _, why := range lock.Whys() {
		if why.String() == w.Why {
			e.Why = why
		}
	}
	return e, true
}
