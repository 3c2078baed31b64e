package lock

import (
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	listed = 10  // holders of a lock in a list
	shown  = 100 // holders, and waiters, of a lock that is shown
)

// Query selects locks for a page of a list. The oldest come first.
type Query struct {
	Prefix string // of the resource
	Owner  string // one of the holders, or "" for any
	Size   int    // locks on the page
	Cursor string // Detail.Next of the page before, or ""
}

// Walk is a page in progress. It stays valid while the table changes between its steps.
type Walk struct {
	q     Query
	at    *resource // the next to look at
	after int64     // only resources with a higher serial count
	locks []Lock
	next  string
}

// Walk begins a page, which EndWalk must end. If the cursor is none of ours, it answers so and returns nil.
func (t *Table) Walk(q Query, to Reply) *Walk {
	w := &Walk{q: q, at: t.oldest}
	if q.Cursor != "" {
		number, name, ok := strings.Cut(q.Cursor, ".")
		serial, err := strconv.ParseInt(number, 36, 64)
		if !ok || err != nil || serial < 1 {
			t.answer(to, nil, Answer{Code: Mismatch, Field: "cursor"})
			return nil
		}
		w.after = serial
		if r := t.resources[name]; r != nil && r.serial == serial {
			w.at = r.next
		}
	}
	return t.walk(w)
}

// walk notes a walk, so that it goes on behind a resource that is dropped while it is there.
func (t *Table) walk(w *Walk) *Walk {
	t.walks = append(t.walks, w)
	return w
}

func (t *Table) unwalk(w *Walk) {
	t.walks = slices.DeleteFunc(t.walks, func(other *Walk) bool { return other == w })
}

// Step looks at up to budget resources and reports whether the page is done.
func (t *Table) Step(now int64, w *Walk, budget int) bool {
	for ; w.at != nil; w.at = w.at.next {
		if budget == 0 {
			return false
		}
		budget--
		r := w.at
		if r.serial <= w.after || !strings.HasPrefix(r.name, w.q.Prefix) || !r.heldBy(now, w.q.Owner) {
			continue
		}
		if len(w.locks) == w.q.Size {
			w.next = strconv.FormatInt(w.after, 36) + "." + w.locks[len(w.locks)-1].Resource
			return true
		}
		w.locks = append(w.locks, t.lock(now, r, listed))
		w.after = r.serial
	}
	return true
}

// EndWalk answers with the page.
func (t *Table) EndWalk(w *Walk, to Reply) {
	t.unwalk(w)
	t.answer(to, nil, Answer{Code: Found, Detail: &Detail{Locks: w.locks, Next: w.next}})
}

// Show answers with one lock and its queue.
func (t *Table) Show(now int64, name string, to Reply) {
	r := t.at(now, name)
	if r == nil || r.holders.n == 0 {
		t.answer(to, r, Answer{Code: NotFound})
		return
	}
	f := t.forecast(now, r)
	d := &Detail{Locks: []Lock{t.lock(now, r, shown)}, Queue: f.queue(now, r, shown)}
	if more := r.waiters() - shown; more > 0 {
		f.turns *= float64(shown+more) / shown
	}
	d.Estimate = f.here(r.mode())
	if n := len(f.lengths); n > 0 {
		d.Held = Estimate{n, f.hold[0], f.hold[1]}
	}
	t.answer(to, r, Answer{Code: Found, Detail: d})
}

// heldBy reports whether the owner, or anybody if it is "", holds r.
func (r *resource) heldBy(now int64, owner string) bool {
	if owner != "" {
		if n, _ := r.byOwner(owner); n == 0 {
			return false
		}
	}
	for c := r.holders.head; c != nil; c = c.next {
		if !c.expired(now) && (owner == "" || c.owner == owner) {
			return true
		}
	}
	return false
}

func (t *Table) lock(now int64, r *resource, most int) Lock {
	holders, total := t.view(now, r, most)
	return Lock{Resource: r.name, Mode: r.mode(), Limit: r.permits, Holders: holders, HoldersTotal: total, Waiters: r.waiters()}
}

// view returns the first holders, and how many there are. It skips those whose lease is over although no timer has come to them yet.
func (t *Table) view(now int64, r *resource, most int) (first []Holder, total int) {
	first, total = make([]Holder, 0, min(most, r.holders.n)), r.holders.n
	for c := r.holders.head; c != nil && len(first) < most; c = c.next {
		if c.expired(now) {
			total--
		} else {
			first = append(first, t.holder(now, c))
		}
	}
	return first, total
}

func (t *Table) holder(now int64, c *claim) Holder {
	h := Holder{
		Owner: c.owner, ID: c.id, Note: c.note(), Token: c.token, HeldFor: time.Duration(now - c.since), ExpiresIn: t.leaseLeft(now, c),
		Renewed: Never, Stuck: t.stuck(now, c),
	}
	if end := c.holdEnd(); end != 0 {
		h.HoldLeft = time.Duration(max(0, end-now))
	}
	if at := c.deadline - c.lease; c.deadline != 0 && at > c.since {
		h.Renewed = time.Duration(now - at)
	}
	return h
}
