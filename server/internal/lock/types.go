// Package lock is the lock table: who holds what, who waits, in which order, and until when.
//
// The table is pure. Every call is given the time, takes effect at once, and leaves behind what it brought about: changes to be
// made durable, and answers that may leave once they are. It has no goroutine, no clock and no I/O, and is not safe for concurrent
// use: the engine runs it under one mutex.
package lock

import "time"

// Mode is how a grant shares its resource.
type Mode uint8

const (
	Exclusive Mode = iota // the only holder
	Shared                // a reader, beside other readers
	Semaphore             // one of Limit permits
)

// NoLease stands for "held until released" where a time left is told.
const NoLease time.Duration = -1

// Request asks for a grant. The caller has validated it.
type Request struct {
	Resource string
	Owner    string
	ID       string // the client's name for this acquisition; "" if it gave none
	Note     string
	Mode     Mode
	Limit    int32         // permits; only with Semaphore
	Expire   time.Duration // length of the lease; 0: held until released
	Wait     time.Duration // how long the request may be parked; 0: answer at once
	Uncapped bool          // Limits.MaxWait does not cap Wait
}

// Ref names a grant, or a waiter by its ID: (Resource, Owner) and a Token, an ID, both or neither.
type Ref struct {
	Resource string
	Owner    string
	ID       string // "" if not given
	Token    int64  // 0 if not given
}

// Sink takes the answers of operations. The engine calls it under its mutex: it must not block and must not call back.
// a is valid during the call only.
type Sink interface {
	Answer(n uint64, a *Answer)
}

// Reply is where the answer of one operation goes: to a sink, as number N, so that one sink can serve many operations.
type Reply struct {
	To Sink
	N  uint64
}

// Send gives the sink its answer.
func (r Reply) Send(a *Answer) { r.To.Answer(r.N, a) }

// Ticket names one request for a grant, to say that the one who made it went away.
// The zero Ticket names none.
type Ticket struct {
	c   *claim
	gen uint32
}

// Code says what an answer is. The front end derives status and wire code from it.
type Code uint8

const (
	Granted        Code = iota + 1 // acquire: the grant; renew: its new deadline
	Queued                         // acquire: place kept, nobody waits at it
	Released                       // release
	Cancelled                      // release by the ID of a waiter
	ForceReleased                  // force release: the grants of Detail.Holders were evicted
	Found                          // look: Detail.Locks
	Locked                         // acquire: held by others
	LimitMismatch                  // acquire: held or awaited as another kind
	IDUsed                         // acquire: that ID has ended
	NotHeld                        // release, renew: see Reason
	TokenRequired                  // release, renew: several grants, none named
	Mismatch                       // Field disagrees with what the table knows
	NotFound                       // show, force release: nobody holds it
	TooManyLocks                   // acquire: Config.MaxLocks reached
	TooManyWaiters                 // acquire: Config.MaxWaiters reached
	Draining                       // the server shuts down
	Unavailable                    // the store failed: the outcome is unknown
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
	Token     int64         // 0 where there is none
	ID        string        // of the grant; "" where there is none
	ExpiresIn time.Duration // left of the lease; NoLease: held until released
	Waited    time.Duration // how long this request was on the server
	Position  int           // with Queued: 1 is the head
	PlaceKept time.Duration // with Queued
	Field     string        // with Mismatch: "id" or "token"
	Detail    *Detail       // with Queued, Locked, LimitMismatch, ForceReleased, Found
}

// Detail is the part of an answer that few answers have.
type Detail struct {
	Holders      []Holder // with ForceReleased: all that were evicted; with Queued, Locked and LimitMismatch: the first few
	HoldersTotal int
	Waiters      int
	Locks        []Lock // with Found
	Next         string // with Found, for List: where the next page starts; "" at the end
	Queue        []Waiter
}

// Holder is one grant as people see it.
type Holder struct {
	Owner     string
	ID        string
	Note      string
	Token     int64
	HeldFor   time.Duration
	ExpiresIn time.Duration // NoLease: held until released
}

// Waiter is one place in a queue as people see it.
type Waiter struct {
	Position int // 1 is the head
	Owner    string
	ID       string
	Note     string
	Waited   time.Duration // since the first request for this place
	Present  bool          // false: nobody is parked at it just now
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
	Expire   time.Duration // what the request asked for; 0: no lease
	Lease    time.Duration // length of the lease now: Expire, or longer after a renewal that asked for more
}

// Change is one step that a store has to keep: the record of a grant put, or deleted (then only Resource and Token count).
type Change struct {
	Seq    uint64 // rises by one from change to change
	Delete bool
	Last   bool // ends the changes of one operation: those become durable together or not at all
	Record Record
}
