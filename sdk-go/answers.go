package lockserver

import (
	"math"
	"net/http"
	"time"
)

// reply is the answer to an operation.
type reply interface {
	// missing names the member without which an answer of this status is of no use, or is empty.
	missing(status int) string
}

// grantAnswer is the answer to acquire and renew. While the acquisition is queued it has a Position and no Token. In one that newGrant
// made, members that do not come stay negative.
type grantAnswer struct {
	Token     int64    `json:"token"`
	ExpiresIn *float64 `json:"expires_in"`
	Waited    float64  `json:"waited"`
	Position  int      `json:"position"`
	wireBlockers
	seconds float64 // what ExpiresIn points to, most often
}

func newGrant() *grantAnswer {
	g := &grantAnswer{}
	g.empty()
	return g
}

func (g *grantAnswer) empty() {
	*g = grantAnswer{seconds: -1, Waited: -1}
	g.ExpiresIn = &g.seconds
}

func (g *grantAnswer) missing(status int) string {
	switch {
	case status == http.StatusAccepted:
		if g.Token = 0; g.Position <= 0 {
			return "position"
		}
	case g.Token <= 0 || g.Token >= 1<<53:
		return "token"
	case g.ExpiresIn != nil && *g.ExpiresIn < 0:
		return "expires_in"
	case g.Waited < 0:
		return "waited"
	}
	return ""
}

type releaseAnswer struct {
	Outcome string `json:"outcome"`
}

func (r *releaseAnswer) missing(int) string { return absent("outcome", r.Outcome == "") }

// keepaliveAnswer is the answer to keepalive.
type keepaliveAnswer struct {
	Renewed int `json:"renewed"`
	Lost    []struct {
		Resource string `json:"resource"`
		Token    int64  `json:"token"`
		Reason   string `json:"reason"`
	} `json:"lost"`
}

func (k *keepaliveAnswer) missing(int) string { return absent("lost", k.Lost == nil) }

// wireBlockers says who stands in the way.
type wireBlockers struct {
	Holders      []wireHolder `json:"holders"`
	HoldersTotal int          `json:"holders_total"`
	Waiters      int          `json:"waiters"`
}

func (b *wireBlockers) blockers() *LockedError {
	return &LockedError{Holders: holders(b.Holders), HoldersTotal: b.HoldersTotal, Waiters: b.Waiters}
}

func absent(member string, is bool) string {
	if is {
		return member
	}
	return ""
}

// wireProblem is an application/problem+json answer with the members of every code.
type wireProblem struct {
	Code   Code   `json:"code"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Field  string `json:"field"`
	Reason string `json:"reason"`
	wireBlockers
}

// duration turns wire seconds into a duration, rounded towards zero: a lease must not look longer than it is.
func duration(seconds float64) time.Duration {
	return time.Duration(min(seconds, math.MaxInt64/2/float64(time.Second)) * float64(time.Second))
}

func optionalDuration(seconds *float64) time.Duration {
	if seconds == nil {
		return 0
	}
	return duration(*seconds)
}
