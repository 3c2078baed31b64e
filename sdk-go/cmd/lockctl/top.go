package main

import (
	"context"
	"fmt"
	"time"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// top shows what others wait for most.
func (t *tool) top(args []string) error {
	flags, asJSON, patience := lookFlags("top")
	n := flags.Int("n", 10, "")
	if err := parse(flags, args); err != nil {
		return err
	}
	const most = 100
	switch {
	case flags.NArg() > 0:
		return &usageError{fmt.Errorf("argument %q is not allowed; allowed: flags", flags.Arg(0))}
	case *n < 1 || *n > most:
		return &usageError{fmt.Errorf("-n is %d; allowed: a whole number from 1 to %d", *n, most)}
	}
	return t.asking("", *patience, func(q *question) error {
		var stats *lockserver.Stats
		err := q.once(func(ctx context.Context) (err error) {
			stats, err = q.Stats(ctx, *n)
			return err
		})
		switch {
		case err != nil:
			return unserved(err)
		case *asJSON:
			return t.json(stats)
		}
		return t.showStats(stats)
	})
}

func (t *tool) showStats(s *lockserver.Stats) error {
	if len(s.Resources) == 0 {
		fmt.Fprintln(t.stderr, t.painter().dim("nobody has waited since the server began to serve, "+short(s.Since)+" ago"))
		return nil
	}
	tb := t.table("RESOURCE", "WAITS", "HAND-OFFS", "WAIT P50", "WAIT P99", "HOLD P50", "HOLD P99", "WAITING", "HOLDERS")
	for i := range s.Resources {
		r := &s.Resources[i]
		tb.row(clean(r.Resource), fmt.Sprint(r.Waits), fmt.Sprint(r.HandOffs), measured(r.WaitP50), measured(r.WaitP99),
			measured(r.HoldP50), measured(r.HoldP99), fmt.Sprint(r.Waiters), fmt.Sprint(r.Holders))
	}
	return tb.flush()
}

// measured is a percentile in up to three digits, as most are far less than a second.
func measured(d time.Duration) string {
	if d < 0 {
		return "-"
	}
	precision := time.Microsecond
	for d >= 1000*precision {
		precision *= 10
	}
	return d.Round(precision).String()
}
