package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
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
		return &usageError{errors.New("--json is not allowed, as these are words; allowed: lockctl show --json, lockctl history --json")}
	}
	return t.asking(resource, *patience, func(q *question) error {
		info, err := q.look()
		if err != nil {
			return err
		}
		fmt.Fprintf(t.stdout, "%s is %s.\n", quote(info.Resource), heldBy(info.Holders, info.HoldersTotal))
		fmt.Fprintln(t.stdout, leases(info.Holders))
		fmt.Fprintln(t.stdout, inLine(info))
		const most = 1000
		var h *lockserver.History
		err = q.once(func(ctx context.Context) (err error) {
			h, err = q.History(ctx, resource, most)
			return err
		})
		switch {
		case errors.Is(err, lockserver.ErrNotFound):
			fmt.Fprintln(t.stdout, "The server keeps no history (--history), so how long it is held as a rule is not known.")
		case err != nil:
			return err
		default:
			fmt.Fprintln(t.stdout, asARule(info, holds(h.Events)))
		}
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
	return "The lease has " + short(latest) + " left; a holder that lives may renew it."
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

// holds returns how long the lock was held each time, in order of length.
func holds(events []lockserver.Event) (lengths []time.Duration) {
	for i := range events {
		switch events[i].Kind {
		case "released", "expired", "evicted":
			lengths = append(lengths, events[i].HeldFor)
		}
	}
	slices.Sort(lengths)
	return lengths
}

// asARule says how long the lock was held before, and what that means for who asks now.
func asARule(info *lockserver.LockInfo, lengths []time.Duration) string {
	const few = 5
	if len(lengths) < few {
		return fmt.Sprintf("It was held %d times lately: too few to say how long that takes as a rule.", len(lengths))
	}
	half, most := lengths[len(lengths)/2], lengths[len(lengths)*9/10]
	text := fmt.Sprintf("Of the last %d times that it was held, half took up to %s, and nine in ten up to %s.", len(lengths), short(half), short(most))
	if info.Mode != "exclusive" || len(info.Holders) == 0 {
		return text
	}
	wait := max(0, half-info.Holders[0].HeldFor) + time.Duration(info.Waiters)*half
	return text + fmt.Sprintf("\nIf that goes on, who asks now waits for about %s.", short(wait))
}
