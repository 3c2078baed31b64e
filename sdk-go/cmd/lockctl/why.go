package main

import (
	"errors"
	"fmt"
	"time"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// why says in words what stands in the way of a lock.
func (t *tool) why(args []string) error {
	flags, asJSON, patience := lookFlags("why")
	if err := parse(flags, args); err != nil {
		return err
	}
	resource, err := one(flags)
	if err != nil {
		return err
	}
	if *asJSON {
		return &usageError{errors.New("--json is not allowed, as these are words; allowed: lockctl show --json")}
	}
	return t.asking(resource, *patience, func(q *question) error {
		info, err := q.look()
		if err != nil {
			return err
		}
		fmt.Fprintf(t.stdout, "%s is %s.\n", quote(info.Resource), heldBy(info.Holders, info.HoldersTotal))
		fmt.Fprintln(t.stdout, leases(info.Holders))
		fmt.Fprintln(t.stdout, inLine(info))
		fmt.Fprintln(t.stdout, asARule(info))
		return nil
	})
}

// leases says when the lock is free at the latest if its holders die now.
func leases(holders []lockserver.Holder) string {
	latest := time.Duration(0)
	for _, h := range holders {
		if h.ExpiresIn == 0 {
			return "It has no lease: it is held until somebody releases it."
		}
		latest = max(latest, h.ExpiresIn)
	}
	text := "The lease has " + short(latest) + " left"
	if len(holders) == 1 && holders[0].Renewed >= 0 {
		return text + ", and was renewed " + short(holders[0].Renewed) + " ago."
	}
	return text + "; a holder that lives may renew it."
}

// inLine says who waits.
func inLine(info *lockserver.LockInfo) string {
	if len(info.Queue) == 0 {
		return "Nobody waits for it."
	}
	next := info.Queue[0]
	text := fmt.Sprintf("%d waits for it: %s, since %s", info.Waiters, clean(next.Owner), short(next.Waited))
	if info.Waiters > 1 {
		text = fmt.Sprintf("%d wait for it. Next is %s, who has waited for %s", info.Waiters, clean(next.Owner), short(next.Waited))
	}
	if next.Note != "" {
		text += " (" + clean(next.Note) + ")"
	}
	if !next.Present {
		text += " and is away just now"
	}
	return text + "."
}

// asARule says how long the lock was held before, and what that means for who asks now.
func asARule(info *lockserver.LockInfo) string {
	const few = 5
	h := info.Held
	if h.Holds < few {
		return fmt.Sprintf("It was held %d times lately: too few to say how long that takes as a rule.", h.Holds)
	}
	text := fmt.Sprintf("Of the last %d times that it was held, half took up to %s, and nine in ten up to %s.\n", h.Holds, short(h.P50), short(h.P90))
	if info.Estimate.Holds == 0 {
		return text + "It has never been held for as long as now, so nobody can say how long a wait would take."
	}
	return text + fmt.Sprintf("If that goes on, who asks now waits for about %s, and nine times in ten for no more than %s.",
		short(info.Estimate.P50), short(info.Estimate.P90))
}
