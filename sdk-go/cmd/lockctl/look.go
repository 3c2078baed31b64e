package main

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// asking connects. The client bounds each question by itself.
func asking(ctx context.Context, ask func(context.Context, *lockserver.Client) error) error {
	client, err := connect()
	if err != nil {
		return err
	}
	defer client.Close()
	return ask(ctx, client)
}

// one returns the RESOURCE that is the only argument.
func one(flags *flag.FlagSet) (string, error) {
	if flags.NArg() != 1 {
		return "", &usageError{fmt.Errorf("there are %d arguments; allowed: flags, then one RESOURCE", flags.NArg())}
	}
	return flags.Arg(0), nil
}

func (t *tool) ls(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("ls", flag.ContinueOnError)
	prefix := flags.String("prefix", "", "")
	owner := flags.String("owner", "", "")
	asJSON := flags.Bool("json", false, "")
	if err := parse(flags, args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return &usageError{fmt.Errorf("argument %q is not allowed; allowed: flags", flags.Arg(0))}
	}
	return asking(ctx, func(ctx context.Context, client *lockserver.Client) error {
		const pageSize = 1000
		var locks []lockserver.LockInfo
		for o := (lockserver.ListOptions{Prefix: *prefix, Owner: *owner, Limit: pageSize}); ; {
			page, err := client.List(ctx, o)
			if err != nil {
				return err
			}
			locks = append(locks, page.Locks...)
			if o.Cursor = page.Next; o.Cursor == "" {
				break
			}
		}
		slices.SortFunc(locks, func(a, b lockserver.LockInfo) int { return cmp.Compare(a.Resource, b.Resource) })
		if *asJSON {
			return t.json(map[string]any{"locks": jsonLocks(locks)})
		}
		return t.listLocks(locks)
	})
}

func (t *tool) listLocks(locks []lockserver.LockInfo) error {
	paint := t.painter()
	tb := t.table("RESOURCE", "KIND", "HOLDER", "HELD FOR", "TIME LEFT", "WAITING")
	for i := range locks {
		l := &locks[i]
		for j, h := range l.Holders {
			if j == 0 {
				tb.row(clean(l.Resource), kind(l), clean(h.Owner), short(h.HeldFor), left(h.ExpiresIn), fmt.Sprint(l.Waiters))
			} else {
				tb.row("", "", clean(h.Owner), short(h.HeldFor), left(h.ExpiresIn), "")
			}
		}
		if more := l.HoldersTotal - len(l.Holders); more > 0 {
			tb.row("", "", fmt.Sprintf("… %d more", more), "", "", "")
		}
	}
	if len(locks) == 0 {
		fmt.Fprintln(t.stderr, paint.dim("nothing is locked"))
		return nil
	}
	return tb.flush()
}

func (t *tool) show(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("show", flag.ContinueOnError)
	asJSON := flags.Bool("json", false, "")
	if err := parse(flags, args); err != nil {
		return err
	}
	resource, err := one(flags)
	if err != nil {
		return err
	}
	return asking(ctx, func(ctx context.Context, client *lockserver.Client) error {
		info, err := client.Show(ctx, resource)
		if errors.Is(err, lockserver.ErrNotFound) {
			return &noError{fmt.Sprintf("nobody holds %s", quote(resource))}
		}
		if err != nil {
			return err
		}
		if *asJSON {
			return t.json(jsonShown(info))
		}
		return t.showLock(info)
	})
}

func (t *tool) showLock(l *lockserver.LockInfo) error {
	paint := t.painter()
	fmt.Fprintf(t.stdout, "%s  %s\n\n", paint.bold(clean(l.Resource)), kind(l))
	tb := t.table("HOLDER", "TOKEN", "HELD FOR", "TIME LEFT", "NOTE")
	for _, h := range l.Holders {
		tb.row(clean(h.Owner), fmt.Sprint(h.Token), short(h.HeldFor), left(h.ExpiresIn), clean(h.Note))
	}
	if err := tb.flush(); err != nil {
		return err
	}
	if more := l.HoldersTotal - len(l.Holders); more > 0 {
		fmt.Fprintf(t.stdout, "… and %d more\n", more)
	}
	if l.Waiters == 0 {
		fmt.Fprintln(t.stdout, paint.dim("\nnobody waits"))
		return nil
	}
	fmt.Fprintln(t.stdout)
	tb = t.table("PLACE", "WAITER", "WAITED", "", "NOTE")
	for _, w := range l.Queue {
		away := ""
		if !w.Present {
			away = "away"
		}
		tb.row(fmt.Sprint(w.Position), clean(w.Owner), short(w.Waited), away, clean(w.Note))
	}
	if err := tb.flush(); err != nil {
		return err
	}
	if more := l.Waiters - len(l.Queue); more > 0 {
		fmt.Fprintf(t.stdout, "… and %d more\n", more)
	}
	return nil
}

func (t *tool) forceRelease(ctx context.Context, args []string) error {
	flags := flag.NewFlagSet("force-release", flag.ContinueOnError)
	yes := flags.Bool("yes", false, "")
	asJSON := flags.Bool("json", false, "")
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
	if !*yes && !isTerminal(t.stdin) {
		return &usageError{errors.New("nobody can be asked, as standard input is no terminal; allowed there: --yes")}
	}
	return asking(ctx, func(ctx context.Context, client *lockserver.Client) error {
		info, err := client.Show(ctx, resource)
		if errors.Is(err, lockserver.ErrNotFound) {
			return &noError{fmt.Sprintf("nobody holds %s", quote(resource))}
		}
		if err != nil {
			return err
		}
		seen := slices.DeleteFunc(slices.Clone(info.Holders), func(h lockserver.Holder) bool { return *token != 0 && h.Token != *token })
		if len(seen) == 0 {
			return &noError{fmt.Sprintf("nobody holds %s with token %d", quote(resource), *token)}
		}
		if !*yes {
			if err := t.ask(info, seen); err != nil {
				return err
			}
		}
		if err := t.evict(ctx, client, resource, seen, *asJSON); err != nil {
			return err
		}
		if more := info.HoldersTotal - len(info.Holders); more > 0 && *token == 0 {
			t.say("%d more hold %s; allowed: the same command again", more, quote(resource))
		}
		return nil
	})
}

// ask asks whether these holders are meant.
func (t *tool) ask(info *lockserver.LockInfo, seen []lockserver.Holder) error {
	fmt.Fprintf(t.stderr, "%s is held by\n", quote(info.Resource))
	for _, h := range seen {
		fmt.Fprintf(t.stderr, "  %s  for %s, token %d  %s\n", clean(h.Owner), short(h.HeldFor), h.Token, clean(h.Note))
	}
	fmt.Fprint(t.stderr, "They may go on working until they notice. Take it from them? [y/N] ")
	answer, err := bufio.NewReader(t.stdin).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return err
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return &noError{"nothing was done"}
}

// evict takes the lock from the holders that were seen, and from no successor of theirs.
func (t *tool) evict(ctx context.Context, client *lockserver.Client, resource string, seen []lockserver.Holder, asJSON bool) error {
	var evicted []lockserver.Holder
	for _, h := range seen {
		gone, err := client.ForceRelease(ctx, resource, h.Token)
		if err != nil && !errors.Is(err, lockserver.ErrNotFound) {
			return err
		}
		evicted = append(evicted, gone...)
	}
	if len(evicted) == 0 {
		return &noError{fmt.Sprintf("nobody holds %s any more", quote(resource))}
	}
	if asJSON {
		return t.json(map[string]any{"resource": resource, "evicted": jsonHolders(evicted)})
	}
	for _, h := range evicted {
		fmt.Fprintf(t.stdout, "taken from %s (token %d)\n", clean(h.Owner), h.Token)
	}
	return nil
}

func (t *tool) json(v any) error {
	e := json.NewEncoder(t.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
