package lockserver

import (
	"fmt"
	"time"
)

// safeUntil returns when a lease can no longer be trusted: counted from the sending, as the server granted it no earlier, and with a
// margin for clocks that run at different speeds.
func safeUntil(sent instant, granted *grantAnswer) instant {
	lease := duration(*granted.ExpiresIn)
	return sent.add(duration(granted.Waited) + lease - safetyMargin(lease))
}

// safetyMargin is how much earlier than the server its holder takes a lease to end.
func safetyMargin(lease time.Duration) time.Duration {
	const part = 1 / figureMarginPart
	return lease/part + figureMargin
}

// usableLease tells whether a lease has a safe deadline that lies in the future at all.
func usableLease(lease time.Duration) bool { return lease > safetyMargin(lease) }

func unusableLease(resource string, lease time.Duration) *Error {
	return invalid(resource, "expire", fmt.Sprintf("is %v, and must be more than the %v %% and %v that are taken off it for safety",
		lease, figureMarginPart*100, figureMargin))
}
