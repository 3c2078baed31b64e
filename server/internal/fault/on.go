//go:build faults

package fault

import (
	"os"
	"strconv"
)

// chosen is the fault of this process.
var chosen = os.Getenv("FAULT")

// The faults, of which one may be chosen.
var (
	Barging                 = chosen == "barging"                   // a new request that fits overtakes those who wait
	LastInFirstOut          = chosen == "last-in-first-out"         // who comes last is served first
	LateExpiry              = late()                                // leases end that much late, in nanoseconds
	LostCommit              = chosen == "lost-commit"               // nothing is stored
	IDsForgotten            = chosen == "ids-forgotten"             // no id that has ended is remembered
	WaiterKept              = chosen == "waiter-kept"               // a waiter that has hung up is not told apart from one that has not
	UndeliveredGrantsKept   = chosen == "undelivered-grants-kept"   // an answer that could not be written is taken for delivered
	SecondSignalIgnored     = chosen == "second-signal-ignored"     // requests are waited for whatever signals come
	ConnectionsWithoutLimit = chosen == "connections-without-limit" // every connection is taken
	GuessesWithoutLimit     = chosen == "guesses-without-limit"     // wrong secrets are not limited
	AnswersSwapped          = chosen == "answers-swapped"           // two answers of one message of a session have each other's seq
	LossesNotTold           = chosen == "losses-not-told"           // no session is told of what it loses
	KeepaliveRenewsNothing  = chosen == "keepalive-renews-nothing"  // a keepalive is answered, and no lease is renewed
	HoldsWithoutBound       = chosen == "holds-without-bound"       // a renewal goes beyond the longest hold
	StuckNotTold            = chosen == "stuck-not-told"            // nobody looks for holders that are stuck
	YieldsNotTold           = chosen == "yields-not-told"           // no session is told that its lock is asked for
	WaitersOfSessionsKept   = chosen == "waiters-of-sessions-kept"  // the waiters of a session that has ended seem to be there
)

func late() int64 {
	if chosen == "late-expiry" {
		return 5_000_000_000
	}
	return 0
}

// Is reports whether the fault of that name is chosen, for faults that are edits of a build.
func Is(name string) bool { return chosen == name }

// Step is by how many microseconds the wall clock of this process is wrong: what the file says that FAULT_CLOCK names.
func Step() int64 {
	text, err := os.ReadFile(os.Getenv("FAULT_CLOCK"))
	if err != nil {
		return 0
	}
	step, err := strconv.ParseInt(string(text), 10, 64)
	if err != nil {
		panic(err)
	}
	return step
}
