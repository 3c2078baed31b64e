package main

import (
	"time"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// The JSON of lockctl is that of the server's GET /lock and GET /locks: the same names, and times in seconds.

type holderJSON struct {
	Owner     string   `json:"owner"`
	ID        *string  `json:"id"`
	Token     int64    `json:"token"`
	Note      *string  `json:"note"`
	HeldFor   float64  `json:"held_for"`
	ExpiresIn *float64 `json:"expires_in"`
	Renewed   *float64 `json:"renewed_ago"`
}

type estimateJSON struct {
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	Holds int     `json:"holds"`
}

func jsonEstimate(e lockserver.Estimate) *estimateJSON {
	if e.Holds == 0 {
		return nil
	}
	return &estimateJSON{inSeconds(e.P50), inSeconds(e.P90), e.Holds}
}

type waiterJSON struct {
	Position int     `json:"position"`
	Owner    string  `json:"owner"`
	ID       *string `json:"id"`
	Note     *string `json:"note"`
	Waited   float64 `json:"waited"`
	Present  bool    `json:"present"`

	Estimate *estimateJSON `json:"estimate"`
}

type lockJSON struct {
	Resource     string       `json:"resource"`
	Mode         *string      `json:"mode"`
	Limit        *int         `json:"limit"`
	Holders      []holderJSON `json:"holders"`
	HoldersTotal int          `json:"holders_total"`
	Waiters      int          `json:"waiters"`
}

// shownJSON has the queue too, also where it is empty.
type shownJSON struct {
	lockJSON
	Queue    []waiterJSON  `json:"queue"`
	Held     *estimateJSON `json:"held"`
	Estimate *estimateJSON `json:"estimate"`
}

// orNull makes null of a zero value.
func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

func inSeconds(d time.Duration) float64 { return d.Seconds() }

func jsonHolders(holders []lockserver.Holder) []holderJSON {
	list := make([]holderJSON, 0, len(holders))
	for _, h := range holders {
		j := holderJSON{
			Owner: h.Owner, ID: orNull(h.ID), Token: h.Token, Note: orNull(h.Note),
			HeldFor: inSeconds(h.HeldFor), ExpiresIn: orNull(inSeconds(h.ExpiresIn)),
		}
		if h.Renewed >= 0 {
			ago := inSeconds(h.Renewed)
			j.Renewed = &ago
		}
		list = append(list, j)
	}
	return list
}

func jsonLock(l *lockserver.LockInfo) lockJSON {
	return lockJSON{
		Resource: l.Resource, Mode: orNull(l.Mode), Limit: orNull(l.Limit),
		Holders: jsonHolders(l.Holders), HoldersTotal: l.HoldersTotal, Waiters: l.Waiters,
	}
}

func jsonShown(l *lockserver.LockInfo) shownJSON {
	j := shownJSON{lockJSON: jsonLock(l), Queue: make([]waiterJSON, 0, len(l.Queue)), Held: jsonEstimate(l.Held), Estimate: jsonEstimate(l.Estimate)}
	for _, w := range l.Queue {
		j.Queue = append(j.Queue, waiterJSON{
			Position: w.Position, Owner: w.Owner, ID: orNull(w.ID), Note: orNull(w.Note), Waited: inSeconds(w.Waited), Present: w.Present,
			Estimate: jsonEstimate(w.Estimate),
		})
	}
	return j
}

func jsonLocks(locks []lockserver.LockInfo) []lockJSON {
	list := make([]lockJSON, 0, len(locks))
	for i := range locks {
		list = append(list, jsonLock(&locks[i]))
	}
	return list
}
