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
	"time"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

const (
	tellAfter       = time.Second     // a person who waits for an answer hears why
	defaultPatience = 5 * time.Second // with one answer of the server
)

// question is a command that asks the server.
type question struct {
	*server
	tool     *tool
	resource string
	told     bool
	patience time.Duration
}

// lookFlags are the flags that all who ask have.
func lookFlags(name string) (flags *flag.FlagSet, asJSON *bool, patience *time.Duration) {
	flags = flag.NewFlagSet(name, flag.ContinueOnError)
	asJSON = flags.Bool("json", false, "")
	patience = new(time.Duration)
	*patience = defaultPatience
	flags.Func("timeout", "", func(s string) (err error) {
		if *patience, err = parseTime(s); err == nil && *patience == 0 {
			err = errors.New("allowed: more than 0")
		}
		return err
	})
	return flags, asJSON, patience
}

// asking connects and asks.
func (t *tool) asking(resource string, patience time.Duration, ask func(*question) error) error {
	s, err := connect()
	if err != nil {
		return err
	}
	defer s.Close()
	q := &question{server: s, tool: t, resource: resource, patience: patience}
	return q.ended(resource, ask(q))
}

// once asks one thing, within the time that there is for it. A signal may end lockctl at any time.
func (q *question) once(ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(context.Background(), q.patience)
	defer cancel()
	q.forget()
	said := make(chan struct{})
	telling := time.AfterFunc(tellAfter, func() {
		defer close(said)
		if !q.told {
			q.told = true
			q.tool.say("waiting for %s", q.standing())
		}
	})
	err := ask(ctx)
	if !telling.Stop() {
		<-said
	}
	return err
}

// look is show's question, with which force-release begins too.
func (q *question) look() (info *lockserver.LockInfo, err error) {
	err = q.once(func(ctx context.Context) (err error) {
		info, err = q.Show(ctx, q.resource)
		return err
	})
	return info, err
}

// one returns the RESOURCE that is the only argument.
func one(flags *flag.FlagSet) (string, error) {
	if flags.NArg() != 1 {
		return "", &usageError{fmt.Errorf("there are %d arguments; allowed: flags, then one RESOURCE", flags.NArg())}
	}
	return flags.Arg(0), nil
}

func (t *tool) ls(args []string) error {
	flags, asJSON, patience := lookFlags("ls")
	prefix := flags.String("prefix", "", "")
	owner := flags.String("owner", "", "")
	if err := parse(flags, args); err != nil {
		return err
	}
	if flags.NArg() > 0 {
		return &usageError{fmt.Errorf("argument %q is not allowed; allowed: flags", flags.Arg(0))}
	}
	return t.asking("", *patience, func(q *question) error {
		const pageSize = 1000
		var locks []lockserver.LockInfo
		for o := (lockserver.ListOptions{Prefix: *prefix, Owner: *owner, Limit: pageSize}); ; {
			var page *lockserver.Page
			if err := q.once(func(ctx context.Context) (err error) {
				page, err = q.List(ctx, o)
				return err
			}); err != nil {
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

func (t *tool) show(args []string) error {
	flags, asJSON, patience := lookFlags("show")
	if err := parse(flags, args); err != nil {
		return err
	}
	resource, err := one(flags)
	if err != nil {
		return err
	}
	return t.asking(resource, *patience, func(q *question) error {
		info, err := q.look()
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

func (t *tool) forceRelease(args []string) error {
	flags, asJSON, patience := lookFlags("force-release")
	yes := flags.Bool("yes", false, "")
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
	return t.asking(resource, *patience, func(q *question) error {
		info, err := q.look()
		if err != nil {
			return err
		}
		seen := slices.DeleteFunc(slices.Clone(info.Holders), func(h lockserver.Holder) bool { return *token != 0 && h.Token != *token })
		if len(seen) == 0 {
			return &ending{exitNo, fmt.Sprintf("nobody holds %s with token %d", quote(resource), *token)}
		}
		if !*yes {
			if err := t.ask(info, seen); err != nil {
				return err
			}
		}
		if err := q.evict(seen, *asJSON); err != nil {
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
	return &ending{exitNo, "nothing was done"}
}

// evict takes the lock from the holders that were seen, and from no successor of theirs.
func (q *question) evict(seen []lockserver.Holder, asJSON bool) error {
	var evicted []lockserver.Holder
	for _, h := range seen {
		err := q.once(func(ctx context.Context) error {
			gone, err := q.ForceRelease(ctx, q.resource, h.Token)
			evicted = append(evicted, gone...)
			return err
		})
		switch {
		case errors.Is(err, lockserver.ErrConnectionFailed), errors.Is(err, lockserver.ErrLockTimeout):
			return &ending{exitServer, fmt.Sprintf("%v; it may have been taken from %s all the same: lockctl show tells", q.ended(q.resource, err), clean(h.Owner))}
		case err != nil && !errors.Is(err, lockserver.ErrNotFound):
			return err
		}
	}
	if len(evicted) == 0 {
		return &ending{exitNo, fmt.Sprintf("nobody holds %s any more", quote(q.resource))}
	}
	if asJSON {
		return q.tool.json(map[string]any{"resource": q.resource, "evicted": jsonHolders(evicted)})
	}
	for _, h := range evicted {
		fmt.Fprintf(q.tool.stdout, "taken from %s (token %d)\n", clean(h.Owner), h.Token)
	}
	return nil
}

func (t *tool) json(v any) error {
	e := json.NewEncoder(t.stdout)
	e.SetIndent("", "  ")
	e.SetEscapeHTML(false)
	return e.Encode(v)
}
