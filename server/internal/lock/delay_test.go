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

// Random histories in which answers wait for commits, and crashes come in between. No model predicts the answers; the rules
// of the contract are checked after every call of the table.
func TestRulesUnderDelay(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := rapid.SampledFrom([]func() world{few, readers}).Draw(t, "world")
		d := newDelayed(t, w(), chooserFunc(func(label string, n int) int { return rapid.IntRange(0, n-1).Draw(t, label) }))
		for range rapid.IntRange(1, 60).Draw(t, "steps") {
			d.step()
		}
		d.finish()
	})
}

func TestRulesUnderDelayAtLength(t *testing.T) {
	for name, w := range map[string]func() world{"few": few, "readers": readers} {
		t.Run(name, func(t *testing.T) {
			for seed := range uint64(30) {
				rng := rand.New(rand.NewPCG(seed, 2))
				d := newDelayed(t, w(), chooserFunc(func(_ string, n int) int { return rng.IntN(n) }))
				for range 300 {
					d.step()
				}
				d.finish()
			}
		})
	}
}

// delayed is a table whose answers wait for what they rest on to become durable.
type delayed struct {
	chooser
	t   tb
	now int64
	world
	table   *lock.Table
	effects lock.Effects
	queue   []lock.Due    // answers that wait
	changes []lock.Change // not durable yet

	seq     uint64 // newest change
	durable uint64
	store   map[int64]lock.Record // what the table holds
	last    int64
	disk    map[int64]lock.Record // what is durable of it
	onDisk  int64                 // highest token there

	n        uint64
	asked    map[uint64]*asked
	arrivals map[name]uint64 // the first request of each claim
	given    map[name]uint64 // the request that was answered with the grant
	newest   map[name]uint64 // the newest one
	kept     map[name]int64  // until when a place is kept without a request
	left     map[name]uint64 // the step in which the client of the newest one hung up
	promised map[int64]int64 // token → until when its holder was told to have it; 0: until it is released
	ends     map[int64]int64 // token → the latest that its lease can end; 0: never
	gone     map[int64]bool  // tokens whose release was answered
	granted  []name          // by the call of the table just made
	places   map[name]bool   // waiters as the events tell of them, and whether they are present
	holders  map[int64]name  // grants as the events tell of them
}

// asked is a request for a grant.
type asked struct {
	lock.Request
	ticket   lock.Ticket
	answered bool
	left     bool
	token    int64
}

func (a *asked) name() name { return name{a.Resource, a.Owner, a.ID} }

func newDelayed(t tb, w world, c chooser) *delayed {
	d := &delayed{
		chooser: c, t: t, now: 1_000_000, world: w,
		disk: map[int64]lock.Record{}, onDisk: 100, promised: map[int64]int64{}, ends: map[int64]int64{}, gone: map[int64]bool{}, asked: map[uint64]*asked{},
	}
	d.bounds = lock.Bounds{MaxLocks: 1000, MaxWaiters: 1000, MaxRemembered: 1000, MaxWait: time.Minute}
	d.start()
	return d
}

// start loads what is durable into a new table.
func (d *delayed) start() {
	d.effects, d.queue, d.changes, d.seq, d.durable = lock.Effects{}, nil, nil, 0, 0
	d.table = lock.New(d.bounds, 0, &d.effects)
	for _, token := range slices.Sorted(maps.Keys(d.disk)) {
		rec := d.disk[token]
		require.NoError(d.t, d.table.Restore(d.now, &rec))
	}
	d.table.Loaded(d.onDisk)
	d.table.Watch(everything...)
	d.places, d.holders = map[name]bool{}, map[int64]name{}
	for token, r := range d.disk {
		d.holders[token] = name{r.Resource, r.Owner, r.ID}
	}
	d.store, d.last = maps.Clone(d.disk), d.onDisk
	for token, r := range d.store {
		if r.Lease > 0 {
			d.ends[token] = d.now + int64(r.Lease)
		}
	}
	d.kept = map[name]int64{}
	d.arrivals, d.newest, d.given, d.left = map[name]uint64{}, map[name]uint64{}, map[name]uint64{}, map[name]uint64{}
	for _, a := range d.asked {
		a.left = a.left || !a.answered // its connection broke
		a.ticket = lock.Ticket{}
	}
}

func (d *delayed) reply() lock.Reply { return lock.Reply{To: d, N: d.n} }

func (d *delayed) step() {
	until := d.now + int64(time.Microsecond) + int64(pick(d.chooser, "pause", d.pauses))
	for d.choose("punctual", 3) > 0 {
		next := d.table.Next()
		if next == 0 || next > until {
			break
		}
		d.now = next
		d.advance()
	}
	d.now = until
	d.n++
	switch op := d.choose("operation", 20); {
	case op < 9:
		d.acquire()
	case op < 11:
		ref := d.ref()
		d.log("%+v", ref)
		d.call("release", func() { d.table.Release(d.now, &ref, d.reply()) })
	case op < 13:
		d.renew()
	case op < 15:
		d.leave()
	case op == 15:
		resource := pick(d.chooser, "resource", d.resources)
		eviction := &lock.ForceRelease{Resource: resource}
		for more := true; more; {
			d.call("force release", func() { more = d.table.ForceRelease(d.now, eviction, 1, d.reply()) })
		}
	case op == 16:
		resource := pick(d.chooser, "resource", d.resources)
		d.call("show", func() { d.table.Show(d.now, resource, d.reply()) })
	case op < 19:
		d.commit(1 + d.choose("changes", 12))
	case d.choose("crash", 5) == 0:
		d.crash()
	}
	d.advance()
	if d.choose("commit", 2) == 0 {
		d.commit(1 + d.choose("changes", 4))
	}
}

func (d *delayed) advance() {
	for more := true; more; {
		d.call("advance", func() { more = d.table.Advance(d.now, 1) })
	}
}

func (d *delayed) acquire() {
	req := pick(d.chooser, "kind", d.kinds)
	req.Resource, req.Owner, req.ID = pick(d.chooser, "resource", d.resources), pick(d.chooser, "owner", d.owners), pick(d.chooser, "id", d.idents)
	req.Expire, req.Wait = pick(d.chooser, "expire", expires), pick(d.chooser, "wait", waits)
	if req.ID == "" {
		req.Owner = fmt.Sprint(req.Owner, d.n) // so that it can be told from others when it is shown
	}
	for _, a := range d.asked {
		if req.ID != "" && a.name() == (name{req.Resource, req.Owner, req.ID}) {
			req.Mode, req.Limit, req.Expire = a.Mode, a.Limit, a.Expire
		}
	}
	if req.ID != "" {
		d.advance() // so that it is clear whether the claim still has its place
	}
	a := &asked{Request: req}
	d.asked[d.n] = a
	if !d.known(a.name()) {
		d.arrivals[a.name()] = d.n
	}
	d.newest[a.name()] = d.n
	d.log("%+v", req)
	d.call("acquire", func() { a.ticket = d.table.Acquire(d.now, &req, d.reply()) })
}

// known reports whether the claim has a place already.
func (d *delayed) known(n name) bool {
	for _, r := range d.store {
		if n.id != "" && n == (name{r.Resource, r.Owner, r.ID}) {
			return true
		}
	}
	for _, w := range d.peek(n.resource).Queue {
		if n.id != "" && n == (name{n.resource, w.Owner, w.ID}) {
			return true
		}
	}
	return d.now < d.kept[n] // of a resource that is free, nothing is shown
}

func (d *delayed) ref() lock.Ref {
	if len(d.store) == 0 || d.choose("right", 4) == 0 {
		return lock.Ref{Resource: pick(d.chooser, "resource", d.resources), Owner: pick(d.chooser, "owner", d.owners), ID: pick(d.chooser, "id", d.idents)}
	}
	r := d.store[pick(d.chooser, "held", slices.Sorted(maps.Keys(d.store)))]
	ref := lock.Ref{Resource: r.Resource, Owner: r.Owner}
	switch d.choose("by", 3) {
	case 0:
		ref.ID = r.ID
	case 1:
		ref.Token = r.Token
	}
	return ref
}

func (d *delayed) renew() {
	ref, expire := d.ref(), pick(d.chooser, "expire", expires)
	mayEndLater := func() {
		for token, r := range d.store {
			if r.Resource == ref.Resource && r.Owner == ref.Owner && r.Lease > 0 {
				d.ends[token] = max(d.ends[token], d.now+int64(max(expire, r.Lease)))
			}
		}
	}
	mayEndLater()
	d.log("%+v by %v", ref, expire)
	d.call("renew", func() { d.table.Renew(d.now, &ref, expire, d.reply()) })
	mayEndLater() // also what was granted in the place of a lease that had run out
}

// leave is a client that hangs up, before its answer or as it is written.
func (d *delayed) leave() {
	n := d.n - min(d.n, uint64(1+d.choose("ago", 10)))
	a := d.asked[n]
	if a == nil || a.left {
		return
	}
	a.left = true
	onTheWay := slices.ContainsFunc(d.queue, func(due lock.Due) bool { return due.N == n })
	if d.newest[a.name()] == n && !a.answered && !onTheWay { // it is parked
		d.kept[a.name()] = d.now + int64(lock.PlaceKept)
	}
	if to, given := d.given[a.name()]; d.newest[a.name()] == n && (!given || to == n) {
		d.left[a.name()] = d.n
		delete(d.given, a.name())
		for token, r := range d.store {
			if a.name() == (name{r.Resource, r.Owner, r.ID}) {
				delete(d.promised, token)
			}
		}
	}
	d.log("%d goes", n)
	d.call("leave", func() { d.table.Leave(d.now, a.ticket) })
}

// commit makes some changes durable, to the end of an operation's, and has the answers leave that waited for them.
func (d *delayed) commit(most int) {
	for i, c := range d.changes {
		if i >= most && d.changes[i-1].Last {
			break
		}
		apply(d.t, d.disk, &d.onDisk, &c)
		d.durable = c.Seq
	}
	for len(d.changes) > 0 && d.changes[0].Seq <= d.durable {
		d.changes = d.changes[1:]
	}
	for i := 0; i < len(d.queue); {
		due := d.queue[i]
		if due.After > d.durable {
			i++
			continue
		}
		d.queue = slices.Delete(d.queue, i, i+1)
		d.log("%d %+v", due.N, due.Answer)
		d.call("settle", func() {
			if d.table.Settle(d.now, &due) {
				due.Send(&due.Answer)
			}
		})
	}
}

// crash loses what is not durable.
func (d *delayed) crash() {
	for token, until := range d.promised {
		_, held := d.store[token]
		_, durable := d.disk[token]
		require.True(d.t, durable || !held, "grant %d, promised until %v, did not survive", token, time.Duration(until))
	}
	for token := range d.gone {
		require.NotContains(d.t, d.disk, token, "a release that was answered did not survive")
	}
	d.start()
}

func (d *delayed) log(format string, args ...any) {
	d.t.Logf("%d, %v: %s", d.n, time.Duration(d.now), fmt.Sprintf(format, args...))
}

// finish ends the history: everybody gets one answer.
func (d *delayed) finish() {
	d.table.Drain(d.now)
	d.collect("drain")
	for len(d.queue) > 0 || len(d.changes) > 0 {
		d.commit(1000)
	}
	for n, a := range d.asked {
		require.True(d.t, a.answered || a.left, "request %d was never answered: %+v", n, a.Request)
	}
}
