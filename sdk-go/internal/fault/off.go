//go:build !faults

package fault

// No fault can be chosen.
const (
	SessionPerCall         = false
	LossesIgnored          = false
	AnswersSwapped         = false
	KeepaliveRenewsNothing = false
	WaitsDropped           = false
)
