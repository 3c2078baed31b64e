//go:build !faults

package fault

const (
	Barging                 = false
	LastInFirstOut          = false
	LateExpiry              = 0
	LostCommit              = false
	IDsForgotten            = false
	WaiterKept              = false
	UndeliveredGrantsKept   = false
	SecondSignalIgnored     = false
	ConnectionsWithoutLimit = false
	GuessesWithoutLimit     = false
	AnswersSwapped          = false
	LossesNotTold           = false
	KeepaliveRenewsNothing  = false
	HoldsWithoutBound       = false
	StuckNotTold            = false
	YieldsNotTold           = false
	WaitersOfSessionsKept   = false
)

// Step is by how many microseconds the wall clock is wrong.
func Step() int64 { return 0 }
