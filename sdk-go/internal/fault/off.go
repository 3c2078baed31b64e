//go:build !faults

package fault

const (
	SessionPerCall         = false
	LossesIgnored          = false
	AnswersSwapped         = false
	KeepaliveRenewsNothing = false
	WaitsDropped           = false
)
