package lock

import (
	"time"

	"github.com/lockserver/lockserver/server/internal/fault"
)

// state is where a claim stands.
type state uint8

const (
	waiting state = iota // in its resource's queue; present while parked
	held                 // among its resource's holders
	ended                // in neither; kept only by tickets and answers under way
)

// claim is one acquisition, from its place in the queue to the end of its grant. A million of them are held at once, so that
// what few claims need stands apart: in label, in parked.
type claim struct {
	res        *resource
	owner      string
	label      *label  // nil without id and note
	parked     *parked // the request that waits in the queue; nil if there is none
	prev, next *claim  // neighbours in the queue, or among the holders
	arrival    int64   // the number of the first request's arrival: the order of the queue
	token      int64   // of the grant; 0 while waiting
	lease      int64   // length in nanoseconds; 0: held until released
	deadline   int64   // held: end of the lease; waiting: end of the wait or of the kept place
	since      int64   // held: the grant; waiting: the first request
	timer      int32   // index in the heap, or noTimer
	gen        uint32  // rises when a request is done with the claim, or another takes it over: older tickets are void
	permits    int32   // with Semaphore, else 0
	mode       Mode
	state      state
	offered    bool // held, but its first answer is still under way: Settle sees whether the lease outlives it
}

// label is what the client said about its claim beyond owner and mode.
type label struct {
	id       string
	note     string
	expire   int64 // as first asked for; a renewal may have made the lease longer
	handBack int64 // when an undeliverable grant goes back; 0: it does not
	place    int   // in the queue, as its position method says
}

// parked is a request that waits for a grant.
type parked struct {
	Reply
	arrived int64 // this request's arrival
	until   int64 // end of its wait
}

func (c *claim) id() string {
	if c.label == nil {
		return ""
	}
	return c.label.id
}

func (c *claim) note() string {
	if c.label == nil {
		return ""
	}
	return c.label.note
}

// expire is the lease that the first request asked for.
func (c *claim) expire() int64 {
	if c.label == nil {
		return c.lease
	}
	return c.label.expire
}

func (c *claim) handBack() int64 {
	if c.label == nil {
		return 0
	}
	return c.label.handBack
}

// due is when the table has to look at the claim again; 0: never.
func (c *claim) due() int64 {
	if c.state == ended || c.offered {
		return 0
	}
	if c.state == waiting {
		return c.deadline
	}
	back := c.handBack()
	if c.deadline == 0 || back != 0 && back < c.deadline {
		return back
	}
	return c.deadline + fault.LateExpiry
}

// over says whether a held claim's deadline has passed.
func (c *claim) over(now int64) bool { return c.deadline != 0 && c.deadline <= now }

// ranOut says whether a held claim has ended by time. One that is still offered goes back to its place instead.
func (c *claim) ranOut(now int64) bool { return c.over(now) && !c.offered }

// present says whether a request waits at the claim.
func (c *claim) present() bool { return c.parked != nil }

func (c *claim) record() Record {
	return Record{
		Resource: c.res.name, Owner: c.owner, ID: c.id(), Note: c.note(), Token: c.token, Mode: c.mode, Limit: c.permits,
		Expire: time.Duration(c.expire()), Lease: time.Duration(c.lease),
	}
}
