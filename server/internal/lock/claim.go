package lock

import (
	"time"

	"github.com/lockserver/lockserver/server/internal/fault"
)

// A claim is one acquisition, from its place in the queue to the end of its grant. Its states are those of state, refined by three
// fields:
//
//	present       waiting, with a request parked
//	absent        waiting, without one: the place is kept. Only with an id.
//	offered       held, and the answer with the grant is under way
//	held          held, and its client has the grant, or a promise of it
//	unclaimed     held, but every answer with the grant was lost. Only with an id.
//	ended
//
// Its moves, with the function that makes them:
//
//	from            because                                    to
//	-               a request for a free lock                  offered    grant
//	-               a request that waits                       present    park
//	present         the lock is free for it                    offered    promote
//	present         its wait is over, or its client went away  absent     unpark, Leave
//	present         the same, without an id                    ended      unpark, Leave
//	absent          a request with its id                      present    resume
//	absent          nobody came within PlaceKept               ended      elapse
//	present, absent cancelled by its id, or the server drains  ended      cancel, Drain
//	offered         its answer, or a renewal's, leaves         held       givenOut
//	offered         its lease is over before the answer        present    lapse
//	offered, held   the last answer that told of it is lost    unclaimed  Leave, Settle
//	offered, held   the same, without an id                    ended      Leave
//	unclaimed       a request with its id                      offered    resume
//	unclaimed       a renewal                                  held       renew
//	unclaimed       nobody came within PlaceKept               ended      elapse
//	held, unclaimed its lease or its longest hold is over      ended      elapse
//	all that hold   released or force-released                 ended      Release, ForceRelease

// state is the list that a claim is in.
type state uint8

const (
	waiting state = iota // its resource's queue
	held                 // its resource's holders
	ended                // neither: only tickets and answers under way refer to it
)

// claim keeps apart, in label and parked, what few claims need: a million of them may be held at once.
type claim struct {
	res   *resource
	owner string
	*label
	parked     *parked // the request that waits; nil if there is none
	prev, next *claim  // neighbours in the queue or among the holders
	arrival    int64   // the number of the first request: the order of the queue
	token      int64   // of the grant; 0 while waiting
	lease      int64   // length in nanoseconds; 0 means held until released
	deadline   int64   // held: end of the lease, see ends; waiting: end of the wait or of the kept place
	since      int64   // held: the grant; waiting: the first request
	timer      int32   // index in the heap, or noTimer
	gen        uint32  // rises when a request is done with the claim or loses it to another; tickets of older generations are void
	permits    int32   // the limit, with Semaphore
	mode       Mode
	state      state
	offered    bool
	told       uint8 // which answers may have brought the grant to its client, or may yet; 0 unless offered or held
}

// Bit i of told is for the request of generation gen-i. Bit forSure is set for good once the client knows of the grant, or was told of
// it too many generations ago to see that this failed.
const forSure = 7

// turn begins a new generation.
func (c *claim) turn() {
	c.gen++
	c.told = c.told<<1 | c.told&(1<<forSure)
}

// label is what a claim has beyond owner and mode if it has an id, a note, a bound to its hold or a longer lease.
type label struct {
	id   string
	mark int64 // waiting: its number in the queue, see queue.position; held: when it is handed on if it is unclaimed, else 0
	more *more // nil for most
}

// more is what few labels have.
type more struct {
	note    string
	asked   int64 // the lease that the first request asked for; a renewal may have made it longer
	maxHold int64 // the bound to its hold that it asked for, or 0
	holdEnd int64 // held: when it ends, however often it is renewed, or 0
	*notice       // nil if there is nothing to notice
}

// notice is what is said about a holder while it holds.
type notice struct {
	yieldTo string // who asked it to give the lock back, or ""
	stuck   bool   // that it is stuck was told
	over    bool   // that its lease is over was told, so that it cannot be renewed in the time that is left
}

// parked is a request that waits for a grant. While it does, the end of its wait is the claim's deadline.
type parked struct {
	Reply
	arrived int64
}

// asking is a request for a grant that is being handled.
type asking struct {
	parked
	until int64 // end of its wait
}

// asks is the request that waits at a claim.
func (c *claim) asks() asking { return asking{*c.parked, c.deadline} }

// unlabelled is the label of all claims with nothing to say. It is never changed.
var unlabelled = &label{}

func newLabel(id, note string, asked, lease, maxHold int64) *label {
	if id == "" && note == "" && asked == lease && maxHold == 0 {
		return unlabelled
	}
	return &label{id: id, more: newMore(note, asked, lease, maxHold)}
}

func newMore(note string, asked, lease, maxHold int64) *more {
	if note == "" && asked == lease && maxHold == 0 {
		return nil
	}
	return &more{note: note, asked: asked, maxHold: maxHold}
}

// extra is the claim's more, which is made if there is none.
func (c *claim) extra() *more {
	if c.label == unlabelled {
		c.label = &label{}
	}
	if c.more == nil {
		c.more = &more{asked: c.lease}
	}
	return c.more
}

// notices is the claim's notice, which is made if there is none.
func (c *claim) notices() *notice {
	m := c.extra()
	if m.notice == nil {
		m.notice = &notice{}
	}
	return m.notice
}

func (c *claim) note() string {
	if c.more == nil {
		return ""
	}
	return c.more.note
}

// expire is the lease that the first request asked for.
func (c *claim) expire() int64 {
	if c.more == nil {
		return c.lease
	}
	return c.more.asked
}

// maxHold is the bound to its hold that the first request asked for, or 0.
func (c *claim) maxHold() int64 {
	if c.more == nil {
		return 0
	}
	return c.more.maxHold
}

// holdEnd is when a held claim ends however often it is renewed, or 0.
func (c *claim) holdEnd() int64 {
	if c.more == nil {
		return 0
	}
	return c.more.holdEnd
}

// ends is when a held claim ends by itself, or 0: with its lease, but not later than holdEnd. So the deadline still tells when the
// lease was renewed.
func (c *claim) ends() int64 {
	if end := c.holdEnd(); end != 0 && !fault.HoldsWithoutBound && (c.deadline == 0 || end < c.deadline) {
		return end
	}
	return c.deadline
}

// due is when elapse has to look at the claim, or 0:
//
//	present           deadline, or earlier, see Table.armWaiter
//	absent            deadline
//	offered, ended    0
//	held              ends, which is 0 without a lease or a bound
//	unclaimed         the earlier of ends and mark
func (c *claim) due() int64 {
	if c.state == ended || c.offered {
		return 0
	}
	if c.state == waiting {
		return c.deadline
	}
	end := c.ends()
	if end == 0 || c.mark != 0 && c.mark < end {
		return c.mark
	}
	return end + fault.LateExpiry
}

// over reports whether the time of a held claim is over.
func (c *claim) over(now int64) bool {
	end := c.ends()
	return end != 0 && end <= now
}

// toldOver reports whether an answer has said that the lease is over, though a moment of it may be left.
func (c *claim) toldOver() bool { return c.more != nil && c.more.notice != nil && c.more.over }

// expired reports whether a held claim is to end as its time is over. One that is still offered lapses instead.
func (c *claim) expired(now int64) bool { return c.over(now) && !c.offered }

// ticket names the request that the claim belongs to now.
func (c *claim) ticket() Ticket { return Ticket{c: c, gen: c.gen, parked: c.present()} }

// present reports whether a request is parked at the claim.
func (c *claim) present() bool { return c.parked != nil }

// lostPlace reports whether the time of a kept place is over, even if no timer has come to it yet.
func (c *claim) lostPlace(now int64) bool {
	return c.state == waiting && !c.present() && c.deadline <= now
}

func (c *claim) record() Record {
	return Record{
		Resource: c.res.name, Owner: c.owner, ID: c.id, Note: c.note(), Token: c.token, Mode: c.mode, Limit: c.permits,
		Expire: time.Duration(c.expire()), Lease: time.Duration(c.lease), MaxHold: time.Duration(c.maxHold()),
	}
}
