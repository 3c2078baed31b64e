// Package lock is the lock table: who holds what, who waits, in which order, and until when.
//
// The table is pure. Each call is given the time, takes effect at once, and leaves its effects behind: changes to make durable, and
// answers and events that may go out once those are durable. The table has no goroutine, no clock and no I/O. It is not safe for
// concurrent use; the engine guards it with one mutex.
package lock

import "time"

// Mode is how a grant shares its resource.
type Mode uint8

const (
	Exclusive Mode = iota // the only holder
	Shared                // one of several readers
	Semaphore             // one of Limit permits
)

// NoLease is the time left of a lock that is held until it is released.
const NoLease time.Duration = -1

// Never is the time since what has not happened.
const Never time.Duration = -1

// Request asks for a grant. The caller has validated it.
type Request struct {
	Resource string
	Owner    string
	ID       string // the client's name for this acquisition, or ""
	Note     string
	Mode     Mode
	Limit    int32         // permits, if Mode is Semaphore
	Expire   time.Duration // length of the lease; 0 means held until released
	MaxHold  time.Duration // how long it may be held, however often it is renewed; 0 means that only Bounds.MaxHold counts
	Wait     time.Duration // how long the request may be parked; 0 means that it is answered at once
	Uncapped bool          // Bounds.MaxWait does not cap Wait
}

// Ref names a grant, or a waiter by its ID: by resource and owner, and by token, ID, both or neither.
type Ref struct {
	Resource string
	Owner    string
	ID       string // "" if not given
	Token    int64  // 0 if not given
}

// Sink takes answers. The engine calls it under its mutex, so it must not block and must not call back. a is valid only during the
// call.
type Sink interface {
	Answer(n uint64, a *Answer)
}

// Reply says where the answer to one operation goes. N tells a sink that serves many operations which one it is.
type Reply struct {
	To Sink
	N  uint64
}

// Send gives the sink its answer.
func (r Reply) Send(a *Answer) { r.To.Answer(r.N, a) }

// Ticket names a request for a grant, so that the table can be told that its client went away. The zero Ticket names none.
type Ticket struct {
	c      *claim
	gen    uint32
	parked bool
}

// Parked reports whether the request had to wait for others when it was made.
func (t Ticket) Parked() bool { return t.parked }

// Named returns what the request named, if it was parked. Only a sink may ask, while it takes the answer.
func (t Ticket) Named() (resource, owner, id string) { return t.c.res.name, t.c.owner, t.c.id }

// Code is the kind of an answer. Front ends derive their status and error code from it.
type Code uint8

const (
	Granted        Code = iota + 1 // acquire: the grant; renew: its new deadline
	Queued                         // acquire: the place is kept, but the request is over
	Released                       // release
	Cancelled                      // release of a waiter by its ID
	ForceReleased                  // force release: the holders in Detail were evicted
	Found                          // show, list: see Detail
	Asked                          // yield: the holders in Detail were asked
	Locked                         // acquire: held by others
	LimitMismatch                  // acquire: held or awaited with another limit, or with none
	IDUsed                         // acquire: the ID has ended
	NotHeld                        // release, renew: see Reason
	TokenRequired                  // release, renew: the owner has several grants, and none is named
	Mismatch                       // Field contradicts what the table knows
	NotFound                       // show, force release: nobody holds it
	TooManyLocks                   // acquire: Bounds.MaxLocks is reached
	TooManyWaiters                 // acquire: Bounds.MaxWaiters is reached
	StorageFull                    // acquire: no grant can be stored; renew: nor a longer lease; nothing was done
	Draining                       // the server is shutting down
	Unavailable                    // the store failed, so the outcome is unknown
)

// Reason says why a grant is not held.
type Reason uint8

const (
	Unknown     Reason = iota // never seen, or forgotten
	Expired                   // its lease ran out
	Evicted                   // it was force-released
	OtherHolder               // somebody else holds the resource
)

// Answer is the answer to one operation.
type Answer struct {
	Code      Code
	Reason    Reason // with NotHeld
	Mode      Mode
	Limit     int32         // 0 unless Mode is Semaphore
	Token     int64         // 0 if there is none
	ID        string        // of the grant, or ""
	ExpiresIn time.Duration // time left until the grant ends by itself, or NoLease
	HoldLeft  time.Duration // of that, what no renewal can make longer; 0 if there is no such bound
	Waited    time.Duration // how long this request was on the server
	YieldTo   string        // with Granted of a renewal, or of an id again: who asked the holder to give it back, or ""
	Position  int           // with Queued; 1 is the head
	PlaceKept time.Duration // with Queued
	Field     string        // with Mismatch: "id", "token" or "cursor"
	Detail    *Detail       // with Queued, Locked, LimitMismatch, ForceReleased and Found
}

// Detail is the part of an answer that few answers have.
type Detail struct {
	Holders      []Holder // with ForceReleased all that were evicted; with Queued, Locked and LimitMismatch the first few
	HoldersTotal int
	Waiters      int
	Locks        []Lock   // with Found
	Next         string   // with Found of a list: the cursor of the next page, or ""
	Queue        []Waiter // with Found of one lock, the first of them
	Ahead        []Waiter // with Queued, Locked and LimitMismatch: the first of those who wait before the request
	Estimate     Estimate // with the same, if somebody waits, of the wait from now on; with Found, of one that begins now
	Held         Estimate // with Found of one lock: how long it was held lately
}

// Holder is one grant as people see it.
type Holder struct {
	Owner     string
	ID        string
	Note      string
	Token     int64
	HeldFor   time.Duration
	ExpiresIn time.Duration // until the grant ends by itself, or NoLease
	HoldLeft  time.Duration // what no renewal can make longer; 0 if there is no such bound
	Renewed   time.Duration // since the last renewal, as one for the lease's own length; Never if there was none
	Stuck     bool          // see Bounds.StuckAfter
}

// Waiter is one place in a queue as people see it.
type Waiter struct {
	Position int // 1 is the head
	Owner    string
	ID       string
	Note     string
	Waited   time.Duration // since the first request for this place
	Present  bool          // whether a request is parked there now
	Estimate Estimate      // of its wait from now on
}

// Lock is one resource that is held, as people see it.
type Lock struct {
	Resource     string
	Mode         Mode
	Limit        int32
	Holders      []Holder // the first few
	HoldersTotal int
	Waiters      int
}

// Record is what a store keeps of a grant.
type Record struct {
	Resource string
	Owner    string
	ID       string
	Note     string
	Token    int64
	Mode     Mode
	Limit    int32
	Expire   time.Duration // as requested; 0 means no lease
	Lease    time.Duration // length of the lease now: Expire, or longer after a renewal that asked for more
	MaxHold  time.Duration // as requested; 0 means none
}

// Change is one step for a store to keep: the record of a grant is put or deleted. To delete, only Resource and Token count.
type Change struct {
	Seq    uint64 // rises by one with each change
	Delete bool
	Last   bool // ends the changes of one operation, which become durable together or not at all
	Record Record
}
