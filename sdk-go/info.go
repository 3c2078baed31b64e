package lockserver

import "time"

// LockInfo is what the server says about a resource that is held or awaited.
type LockInfo struct {
	Resource     string
	Mode         string   // "exclusive" or "shared"; "" for a semaphore
	Limit        int      // permits of a semaphore; 0 for the others
	Holders      []Holder // not always all of them
	HoldersTotal int
	Waiters      int
	Queue        []Waiter // of Show only: the first 100
	Held         Estimate // of Show only: how long it was held lately
	Estimate     Estimate // of Show only: how long who asks now may wait
}

// Estimate is a time by the last times that a resource was held: half of them took up to P50, nine in ten up to P90.
type Estimate struct {
	P50, P90 time.Duration
	Holds    int // of how many; 0 if there is no estimate
}

// Holder is one grant.
type Holder struct {
	Owner     string
	ID        string // "" if the server does not say
	Token     int64
	Note      string
	HeldFor   time.Duration
	ExpiresIn time.Duration // 0: held until released
	Renewed   time.Duration // since the last renewal; negative if there was none, or if the server does not say
}

// Waiter is one acquisition that waits.
type Waiter struct {
	Position int      // 1 is next
	Estimate Estimate // how long it may still wait
	Owner    string
	ID       string
	Note     string
	Waited   time.Duration
	Present  bool // false: its connection is gone, and its place is kept for a while
}

// ListOptions narrows [Client.List]. Zero fields do not.
type ListOptions struct {
	Prefix string // of the resource
	Owner  string // of a holder
	Limit  int    // of a page; the server has a default and a maximum
	Cursor string // Next of the page before
}

// Page is a part of all locks.
type Page struct {
	Locks []LockInfo
	Next  string // the cursor of the next page; "" after the last
}

type wireHolder struct {
	Owner     string   `json:"owner"`
	ID        string   `json:"id"`
	Token     int64    `json:"token"`
	Note      string   `json:"note"`
	HeldFor   float64  `json:"held_for"`
	ExpiresIn *float64 `json:"expires_in"`
	Renewed   *float64 `json:"renewed_ago"`
}

type wireEstimate struct {
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	Holds int     `json:"holds"`
}

func (w *wireEstimate) estimate() Estimate {
	return Estimate{P50: duration(w.P50), P90: duration(w.P90), Holds: w.Holds}
}

type wireWaiter struct {
	Position int     `json:"position"`
	Owner    string  `json:"owner"`
	ID       string  `json:"id"`
	Note     string  `json:"note"`
	Waited   float64 `json:"waited"`
	Present  bool    `json:"present"`

	Estimate wireEstimate `json:"estimate"`
}

type wireLock struct {
	Resource string `json:"resource"`
	Mode     string `json:"mode"`
	Limit    int    `json:"limit"`
	wireBlockers
	Queue    []wireWaiter `json:"queue"`
	Held     wireEstimate `json:"held"`
	Estimate wireEstimate `json:"estimate"`
}

func (w *wireLock) missing(int) string { return absent("holders", w.Holders == nil) }

type wirePage struct {
	Locks []wireLock `json:"locks"`
	Next  string     `json:"next"`
}

func (w *wirePage) missing(int) string { return absent("locks", w.Locks == nil) }

type wireEvicted struct {
	Evicted []wireHolder `json:"evicted"`
}

func (w *wireEvicted) missing(int) string { return absent("evicted", w.Evicted == nil) }

func (w *wireLock) info() *LockInfo {
	info := &LockInfo{
		Resource: w.Resource, Mode: w.Mode, Limit: w.Limit,
		Holders: holders(w.Holders), HoldersTotal: w.HoldersTotal, Waiters: w.Waiters,
		Held: w.Held.estimate(), Estimate: w.Estimate.estimate(),
	}
	for _, q := range w.Queue {
		info.Queue = append(info.Queue, Waiter{
			Position: q.Position, Owner: q.Owner, ID: q.ID, Note: q.Note, Waited: duration(q.Waited), Present: q.Present,
			Estimate: q.Estimate.estimate(),
		})
	}
	return info
}

func holders(wire []wireHolder) []Holder {
	list := make([]Holder, len(wire))
	for i, h := range wire {
		list[i] = Holder{
			Owner: h.Owner, ID: h.ID, Token: h.Token, Note: h.Note,
			HeldFor: duration(h.HeldFor), ExpiresIn: optionalDuration(h.ExpiresIn), Renewed: -1,
		}
		if h.Renewed != nil {
			list[i].Renewed = duration(*h.Renewed)
		}
	}
	return list
}
