package main

import (
	"context"
	"errors"
	"fmt"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// yield asks the holders of a lock to give it back.
func (t *tool) yield(args []string) error {
	flags, asJSON, patience := lookFlags("yield")
	by := flags.String("by", "", "")
	token := flags.Int64("token", 0, "")
	if err := parse(flags, args); err != nil {
		return err
	}
	resource, err := one(flags)
	if err != nil {
		return err
	}
	if *token < 0 {
		return &usageError{fmt.Errorf("--token is %d; allowed: a token as lockctl show tells it", *token)}
	}
	return t.asking(resource, *patience, func(q *question) error {
		var asked []lockserver.Holder
		err := q.once(func(ctx context.Context) (err error) {
			asked, err = q.Yield(ctx, resource, *token, *by)
			return err
		})
		switch {
		case errors.Is(err, lockserver.ErrNotFound) && *token != 0:
			return &ending{exitNo, fmt.Sprintf("nobody holds %s with token %d", quote(resource), *token)}
		case err != nil:
			return err
		case *asJSON:
			return t.json(map[string]any{"resource": resource, "asked": jsonHolders(asked)})
		}
		for _, h := range asked {
			fmt.Fprintf(t.stdout, "asked %s (token %d)\n", clean(h.Owner), h.Token)
		}
		return nil
	})
}
