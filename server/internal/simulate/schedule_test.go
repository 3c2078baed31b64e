package simulate_test

import (
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// step is one thing that happens. What its numbers mean depends on where the world is by then, so a schedule makes sense whichever of
// its steps are left out.
type step struct {
	what    action
	a, b, c uint32
}

func (s step) String() string { return fmt.Sprintf("%s %d %d %d", s.what, s.a, s.b, s.c) }

type action uint8

const (
	acquire action = iota // a new acquisition
	again                 // one that was asked for before
	release
	renew
	leave
	force
	yield
	show
	list
	dial   // a session begins
	send   // a message is sent on one
	flow   // its bytes move
	turn   // a strand of sessions goes on
	cut    // one ends, in one of many ways
	tell   // sessions are told of losses
	pass   // time passes
	alarms // those that are due go off
	work   // the committer, or another strand, goes on
	land   // a piece of a commit becomes durable
	finish // a commit ends well
	fail   // a commit fails
	lose   // the store is lost
	crash  // the server ends at once, and another starts on what is durable
	stop   // it is stopped in good order
	replace
	fill // the store is full, or has room again
	actions

	keepalive = actions // only in a message of a session
)

func (a action) String() string {
	return [actions + 1]string{
		"acquire", "again", "release", "renew", "leave", "force", "yield", "show", "list", "dial", "send", "flow", "turn", "cut", "tell", "pass", "alarms", "work", "land", "finish", "fail", "lose",
		"crash", "stop", "replace", "fill", "keepalive",
	}[a]
}

// plan is what a seed says: the world, and what happens in it.
type plan struct {
	seed      uint64
	kind      storeKind
	bounds    lock.Bounds
	resources int
	owners    int
	modes     []lock.Request // kinds of acquisitions
	maxHolds  []time.Duration
	punctual  bool // alarms go off in time
	piece     int
	sessions  limits
	steps     []step
}

// limits are those of sessions and their connections.
type limits struct {
	most       int // sessions at the same time
	operations int
	unsent     int
	slice      int  // leases that a keepalive renews at once
	buffer     int  // how much is taken from a server that its client has not
	sip        int  // how much a server reads at once
	lively     bool // clients answer pings in time
}

type storeKind uint8

const (
	onDisk storeKind = iota
	shared
	instant
)

func (k storeKind) String() string { return [...]string{"disk", "shared", "instant"}[k] }

var modes = [][]lock.Request{
	{{}},
	{{}, {Mode: lock.Shared}, {Mode: lock.Shared}},
	{{Mode: lock.Semaphore, Limit: 2}},
	{{}, {Mode: lock.Shared}, {Mode: lock.Semaphore, Limit: 1}, {Mode: lock.Semaphore, Limit: 3}},
}

var (
	leases   = []time.Duration{0, time.Millisecond, time.Millisecond, 2 * time.Millisecond, 100 * time.Millisecond, time.Second, 5 * time.Second, 5 * time.Second, 30 * time.Second, 30 * time.Second}
	maxHolds = []time.Duration{0, 0, 0, 0, 0, time.Millisecond, 2 * time.Second, 40 * time.Second}
	waits    = []time.Duration{0, 0, time.Millisecond, time.Second, 10 * time.Second, 30 * time.Second, 60 * time.Second}
	pauses   = []time.Duration{
		0, 1, time.Microsecond, time.Millisecond - 1, time.Millisecond, time.Millisecond + 1, 99 * time.Millisecond, time.Second,
		time.Second, 4 * time.Second, 5 * time.Second, lock.PlaceKept - 1, lock.PlaceKept, 29 * time.Second, 61 * time.Second,
	}
)

// often is how often each action comes if a seed says nothing else.
var often = [actions]int{
	acquire: 200, again: 100, release: 120, renew: 40, leave: 50, force: 6, yield: 12, show: 20, list: 4, dial: 8, send: 160, flow: 160, turn: 40, cut: 6, tell: 20, pass: 100, alarms: 60, work: 120, land: 40,
	finish: 160, fail: 1, lose: 1, crash: 3, stop: 1, replace: 3, fill: 12,
}

// newPlan makes the plan of a seed. Each seed favours some actions and leaves out others, as what is rare everywhere is found nowhere.
func newPlan(seed uint64, length int) *plan {
	rng := rand.New(rand.NewPCG(seed, 18))
	p := &plan{seed: seed, piece: 1 << 30, punctual: rng.IntN(3) > 0}
	p.kind = [...]storeKind{onDisk, onDisk, onDisk, shared, shared, instant}[rng.IntN(6)]
	if p.kind == shared && rng.IntN(2) == 0 {
		p.piece = 1 + rng.IntN(3)
	}
	p.resources, p.owners = 1+rng.IntN(4), 1+rng.IntN(5)
	p.modes = modes[rng.IntN(len(modes))]
	p.bounds = lock.Bounds{MaxLocks: 10_000, MaxWaiters: 10_000, MaxRemembered: 100_000, MaxWait: time.Minute}
	if rng.IntN(4) == 0 {
		p.bounds.MaxLocks, p.bounds.MaxWaiters = 1+rng.IntN(6), rng.IntN(6)
	}
	if rng.IntN(4) == 0 {
		p.bounds.MaxRemembered = rng.IntN(8)
	}
	p.maxHolds = maxHolds[:1]
	if seed%4 == 0 {
		p.maxHolds = maxHolds
	}
	if seed%16 == 10 {
		p.bounds.MaxHold = 20 * time.Second
	}
	if seed%4 == 3 {
		p.bounds.StuckAfter = 8 * time.Second
	}
	p.sessions = limits{
		most: pick(rng.Uint32(), []int{0, 0, 1, 2, 3}), operations: pick(rng.Uint32(), []int{1, 2, 16_384}), unsent: pick(rng.Uint32(), []int{200, 1000, 1 << 20}),
		slice: pick(rng.Uint32(), []int{1, 3, 256}), buffer: pick(rng.Uint32(), []int{1, 300, 1 << 16, 1 << 16}), sip: pick(rng.Uint32(), []int{1, 100, 1 << 16, 1 << 16}),
		lively: rng.IntN(2) == 0,
	}
	weights := often
	if p.sessions.most == 0 {
		clear(weights[dial : tell+1])
	}
	for a := range weights {
		switch rng.IntN(6) {
		case 0:
			weights[a] *= 4
		case 1:
			weights[a] = (weights[a] + 3) / 4
		case 2:
			if action(a) != acquire && action(a) != finish && action(a) != work {
				weights[a] = 0
			}
		}
	}
	sum := 0
	for _, w := range weights {
		sum += w
	}
	p.steps = make([]step, length)
	for i := range p.steps {
		n, a := rng.IntN(sum), acquire
		for n >= weights[a] {
			n -= weights[a]
			a++
		}
		x := rng.Uint64()
		p.steps[i] = step{a, uint32(x) & 0xfffff, uint32(x>>20) & 0xfffff, uint32(x>>40) & 0xfffff}
	}
	return p
}
