//go:build faults

package fault

import "os"

// chosen is the fault of this process.
var chosen = os.Getenv("FAULT")

// The faults, of which one may be chosen.
var (
	SessionPerCall         = chosen == "session-per-call"         // each call has a session of its own
	LossesIgnored          = chosen == "losses-ignored"           // what the server tells of losses is not passed on
	AnswersSwapped         = chosen == "answers-swapped"          // an answer may go to another request
	KeepaliveRenewsNothing = chosen == "keepalive-renews-nothing" // a keepalive is not sent, and taken for confirmed
	WaitsDropped           = chosen == "waits-dropped"            // what a session leaves unanswered is not asked again
)
