package lockserver

import "time"

// What goes over the wire: durations are seconds, null and absent are the same.

type acquireRequest struct {
	Resource string  `json:"resource"`
	Owner    string  `json:"owner"`
	Expire   float64 `json:"expire,omitempty"`
	Wait     float64 `json:"wait,omitempty"`
	ID       string  `json:"id,omitempty"`
	Mode     string  `json:"mode,omitempty"`
	Limit    int     `json:"limit,omitempty"`
	Note     string  `json:"note,omitempty"`
}

// grantAnswer is the answer to acquire and renew; Position counts in a 202 only.
type grantAnswer struct {
	Token     int64    `json:"token"`
	ExpiresIn *float64 `json:"expires_in"`
	Waited    float64  `json:"waited"`
	Position  int      `json:"position"`
}

type releaseRequest struct {
	Resource string `json:"resource"`
	Owner    string `json:"owner"`
	Token    int64  `json:"token,omitempty"`
	ID       string `json:"id,omitempty"`
}

type renewRequest struct {
	Resource string  `json:"resource"`
	Owner    string  `json:"owner"`
	Token    int64   `json:"token"`
	Expire   float64 `json:"expire,omitempty"`
}

type wireHolder struct {
	Owner     string   `json:"owner"`
	ID        string   `json:"id"`
	Token     int64    `json:"token"`
	Note      string   `json:"note"`
	HeldFor   float64  `json:"held_for"`
	ExpiresIn *float64 `json:"expires_in"`
}

type wireWaiter struct {
	Position int     `json:"position"`
	Owner    string  `json:"owner"`
	ID       string  `json:"id"`
	Note     string  `json:"note"`
	Waited   float64 `json:"waited"`
	Present  bool    `json:"present"`
}

type wireLock struct {
	Resource     string       `json:"resource"`
	Mode         string       `json:"mode"`
	Limit        int          `json:"limit"`
	Holders      []wireHolder `json:"holders"`
	HoldersTotal int          `json:"holders_total"`
	Waiters      int          `json:"waiters"`
	Queue        []wireWaiter `json:"queue"`
}

type wirePage struct {
	Locks []wireLock `json:"locks"`
	Next  string     `json:"next"`
}

type wireEvicted struct {
	Evicted []wireHolder `json:"evicted"`
}

// wireProblem is an application/problem+json answer with the fields of every code.
type wireProblem struct {
	Code         Code         `json:"code"`
	Title        string       `json:"title"`
	Detail       string       `json:"detail"`
	Field        string       `json:"field"`
	Reason       string       `json:"reason"`
	Holders      []wireHolder `json:"holders"`
	HoldersTotal int          `json:"holders_total"`
	Waiters      int          `json:"waiters"`
}

// duration turns wire seconds into a duration, rounded towards zero: a lease must not look longer than it is.
func duration(seconds float64) time.Duration { return time.Duration(seconds * float64(time.Second)) }

func optionalDuration(seconds *float64) time.Duration {
	if seconds == nil {
		return 0
	}
	return duration(*seconds)
}
