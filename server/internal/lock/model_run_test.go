package lock_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"pgregory.net/rapid"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// Random histories in which every answer may leave at once. The table must do and say what the model does and says.
func TestTableIsTheModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := rapid.SampledFrom([]func() world{few, readers, stuck}).Draw(t, "world")
		d := newDuel(t, w(), chooserFunc(func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) }))
		for range rapid.IntRange(1, 80).Draw(t, "steps") {
			if !d.step() {
				return
			}
		}
	})
}

// FuzzOperations takes the choices from the fuzzer's bytes instead.
func FuzzOperations(f *testing.F) {
	f.Add([]byte("acquire and release"))
	f.Add([]byte("\x00\x00\x00\x01\x02\x03\x04\x05\x06\x07\x08\x09\x0a\x0b\x0c\x0d\x0e\x0f\x10\x11\x12\x13\x14\x15\x16\x17\x18\x19\x1a\x1b\x1c\x1d"))
	f.Fuzz(func(t *testing.T, data []byte) {
		const most = 1 << 10 // longer sequences cost more than they find
		data = data[:min(len(data), most)]
		d := newDuel(t, few(), chooserFunc(func(_ string, n int) int {
			if len(data) == 0 {
				return 0
			}
			b := data[0]
			data = data[1:]
			return int(b) % n
		}))
		for len(data) > 0 && d.step() {
		}
	})
}

type chooser interface {
	choose(label string, n int) int
}

type chooserFunc func(label string, n int) int

func (f chooserFunc) choose(label string, n int) int { return f(label, n) }

func pick[T any](c chooser, label string, of []T) T { return of[c.choose(label, len(of))] }

type tb interface {
	require.TestingT
	Helper()
	Logf(format string, args ...any)
}

// duel has the table and the model do the same.
type duel struct {
	chooser
	t   tb
	now int64
	world
	table   *lock.Table
	effects lock.Effects
	model   *model
	answers map[uint64]lock.Answer // of this step
	requests
	store map[int64]lock.Record // what the changes come to
	last  int64                 // the highest token in changes
	seq   uint64
	stuck map[int64]bool // tokens of the holders that were told to be stuck
}

// requests numbers what was asked, and keeps the tickets.
type requests struct {
	n       uint64
	tickets []ticket
}

type ticket struct {
	n uint64
	lock.Ticket
}

func newDuel(t tb, w world, c chooser) *duel {
	d := &duel{
		chooser: c, t: t, world: w, now: 1_000_000, store: map[int64]lock.Record{}, last: 100,
	}
	d.table = lock.New(d.bounds, 100, &d.effects)
	d.table.Watch(lock.EventStuck)
	d.model = newModel(d.bounds, 100)
	return d
}

func (d *duel) Answer(n uint64, a *lock.Answer) {
	require.NotContains(d.t, d.answers, n, "answered twice")
	if a.Detail != nil {
		a.Detail.Estimate, a.Detail.Held = lock.Estimate{}, lock.Estimate{}
		for _, waiters := range [][]lock.Waiter{a.Detail.Queue, a.Detail.Ahead} {
			for i := range waiters {
				waiters[i].Estimate = lock.Estimate{}
			}
		}
	}
	d.answers[n] = *a
}

func (d *duel) reply() lock.Reply { return lock.Reply{To: d, N: d.n} }

// step passes some time, does one operation, and compares. It returns false if the history cannot be judged any further.
func (d *duel) step() bool {
	d.wait()
	d.begin()
	d.operate()
	d.model.lookAgain()
	d.compare()
	return !d.model.tied
}

// wait passes time, with the table called at each instant that it asks for, or not at all.
func (d *duel) wait() {
	until := d.now + int64(time.Microsecond) + int64(pick(d.chooser, "pause", d.pauses)) + int64(d.choose("jitter", 200))*int64(time.Microsecond)
	punctual := d.choose("punctual", 3) > 0 || d.crowd
	for punctual {
		d.compareNext()
		next := d.table.Next()
		if next == 0 || next > until {
			break
		}
		d.now = next
		d.begin()
		d.log("advance")
		require.False(d.t, d.table.Advance(d.now, 1000))
		d.model.advance()
		d.compare()
		if d.model.tied {
			return
		}
	}
	d.now = until
}

func (d *duel) log(format string, args ...any) {
	d.t.Helper()
	d.t.Logf("%d, %v: %s", d.n, time.Duration(d.now), fmt.Sprintf(format, args...))
}

func (d *duel) begin() {
	d.answers = map[uint64]lock.Answer{}
	d.model.begin(d.now)
}

func (d *duel) operate() {
	d.n++
	switch op := d.choose("operation", 20); {
	case op < 9 || d.crowd && d.choose("more", 3) > 0:
		d.acquire()
	case op < 12:
		ref := d.ref()
		d.log("release %+v", ref)
		d.table.Release(d.now, &ref, d.reply())
		d.settle()
		d.model.release(d.n, ref, d.remembers(ref, d.model.releaseRemembers))
	case op < 14:
		ref, expire := d.ref(), pick(d.chooser, "expire", expires)
		d.log("renew %+v by %v", ref, expire)
		d.table.Renew(d.now, &ref, expire, d.reply())
		d.settle()
		d.model.renew(d.n, ref, expire, d.remembers(ref, d.model.renewRemembers))
	case op < 16:
		d.leave()
	case op == 16:
		resource, token := pick(d.chooser, "resource", d.resources), int64(0)
		if d.choose("one", 2) == 1 {
			token = d.token()
		}
		d.log("force release %q, token %d", resource, token)
		require.False(d.t, d.table.ForceRelease(d.now, &lock.ForceRelease{Resource: resource, Token: token}, d.bounds.MaxLocks+d.bounds.MaxWaiters, d.reply()))
		d.settle()
		d.model.forceRelease(d.n, resource, token)
	case op == 17:
		resource := pick(d.chooser, "resource", d.resources)
		d.table.Show(d.now, resource, d.reply())
		d.settle()
		d.model.show(d.n, resource)
	case op == 18:
		d.list()
	default:
		d.rare()
	}
}

func (d *duel) acquire() {
	req := pick(d.chooser, "kind", d.kinds)
	req.Resource, req.Owner, req.ID = pick(d.chooser, "resource", d.resources), pick(d.chooser, "owner", d.owners), pick(d.chooser, "id", d.idents)
	req.Note, req.Expire, req.Wait = pick(d.chooser, "note", notes), pick(d.chooser, "expire", expires), pick(d.chooser, "wait", waits)
	req.MaxHold = pick(d.chooser, "max hold", maxHolds)
	if c := d.model.byName(name{req.Resource, req.Owner, req.ID}); c != nil && d.choose("same", 4) > 0 {
		req.Mode, req.Limit, req.Expire, req.MaxHold = c.mode, c.limit, c.expire, c.maxHold // else hardly any would come again
	}
	d.log("acquire %+v", req)
	tk := d.table.Acquire(d.now, &req, d.reply())
	d.tickets = append(d.tickets, ticket{d.n, tk})
	d.settle()
	d.model.acquire(d.n, req, d.answers[d.n].Code == lock.IDUsed)
}

// ref names something that is, was or never was.
func (d *duel) ref() lock.Ref {
	ref := lock.Ref{Resource: pick(d.chooser, "resource", d.resources), Owner: pick(d.chooser, "owner", d.owners)}
	if len(d.model.claims) > 0 && d.choose("right", 3) > 0 {
		c := pick(d.chooser, "claim", d.model.claims)
		ref.Resource, ref.Owner = c.resource, c.owner
		switch d.choose("by", 4) {
		case 0:
			ref.ID = c.id
		case 1:
			ref.Token = c.token
		case 2:
			ref.ID, ref.Token = c.id, c.token
		}
		return ref
	}
	if d.choose("id", 2) == 1 {
		ref.ID = pick(d.chooser, "id", d.idents)
	}
	if d.choose("token", 3) == 1 {
		ref.Token = d.token()
	}
	return ref
}

// token is one of the newest.
func (d *duel) token() int64 { return max(1, d.last-int64(d.choose("token", 6))) }

func (d *duel) leave() {
	d.catchUp()
	if len(d.tickets) > 0 {
		tk := d.tickets[max(0, len(d.tickets)-1-d.choose("ticket", 8))]
		live := d.model.where(func(c *place) bool { return c.request != 0 })
		if len(live) > 0 && d.choose("live", 3) > 0 {
			request := pick(d.chooser, "claim", live).request
			tk = d.tickets[slices.IndexFunc(d.tickets, func(t ticket) bool { return t.n == request })]
		}
		d.log("leave %d", tk.n)
		d.table.Leave(d.now, tk.Ticket)
		d.model.leave(tk.n)
	}
	d.settle()
}

// catchUp ends what has fallen due, and has the answers leave.
func (d *duel) catchUp() {
	d.table.Advance(d.now, 1000)
	d.settle()
	d.model.advance()
	d.model.lookAgain()
}

// list reads all pages.
func (d *duel) list() {
	d.catchUp()
	q := lock.Query{Size: 1 + d.choose("page", 3)}
	q.Prefix = pick(d.chooser, "prefix", []string{"", "", "a", "ab", "c"})
	q.Owner = pick(d.chooser, "owner", []string{"", "", "x"})
	after := ""
	for {
		w := d.table.Walk(q, d.reply())
		require.NotNil(d.t, w)
		for !d.table.Step(d.now, w, 1+d.choose("budget", 3)) {
		}
		d.table.EndWalk(w, d.reply())
		d.settle()
		got := d.answers[d.n].Detail
		delete(d.answers, d.n)
		page, more := d.model.list(q, after)
		require.Equal(d.t, page, got.Locks)
		require.Equal(d.t, more, got.Next != "")
		if !more {
			return
		}
		after, q.Cursor = page[len(page)-1].Resource, got.Next
	}
}

// rare ends the life of the table now and then, and starts another on what a store has kept.
func (d *duel) rare() {
	switch d.choose("rare", 4) {
	case 0:
		d.catchUp()
		d.log("drain")
		d.table.Drain(d.now)
		d.settle()
		d.model.drain()
	case 1:
		d.catchUp()
		d.compare()
		d.begin()
		d.restart()
	default:
		for d.table.Advance(d.now, 1+d.choose("budget", 3)) {
		}
		d.settle()
		d.model.advance()
	}
}

func (d *duel) restart() {
	d.log("restart")
	d.table = lock.New(d.bounds, 0, &d.effects)
	d.table.Watch(lock.EventStuck)
	for _, token := range slices.Sorted(maps.Keys(d.store)) {
		rec := d.store[token]
		require.NoError(d.t, d.table.Restore(d.now, &rec))
	}
	d.table.Loaded(d.last)
	d.model.restart()
	d.tickets, d.seq, d.stuck = nil, 0, nil
}

// Long histories of even choices reach what the short ones, which rapid can make shorter still, do not.
func TestTableIsTheModelAtLength(t *testing.T) {
	for name, w := range map[string]struct {
		world     func() world
		histories uint64
	}{"few": {few, 100}, "readers": {readers, 100}, "stuck": {stuck, 40}, "crowded": {crowded, 12}} {
		t.Run(name, func(t *testing.T) {
			for seed := range w.histories {
				rng := rand.New(rand.NewPCG(seed, 1))
				d := newDuel(t, w.world(), chooserFunc(func(_ string, n int) int { return rng.IntN(n) }))
				for step := 0; step < 400 && d.step(); step++ {
				}
			}
		})
	}
}
