package main

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"os/exec"
	"strconv"
	"syscall"
	"time"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

const (
	defaultLease  = 30 * time.Second
	shortestLease = time.Second // less leaves no time to end a command in
)

// runOptions is what `lockctl run` was asked for.
type runOptions struct {
	resource string
	command  []string
	expire   time.Duration
	timeout  *time.Duration // nil: no limit
	noWait   bool
	shared   bool
	limit    int
	note     string
	group    bool // hold the lock until the command's whole group has ended
}

func parseRun(args []string) (*runOptions, error) {
	o := &runOptions{expire: defaultLease}
	flags := flag.NewFlagSet("run", flag.ContinueOnError)
	flags.Func("expire", "", func(s string) (err error) {
		if o.expire, err = parseTime(s); err == nil && o.expire < shortestLease {
			err = fmt.Errorf("allowed: %v or more", shortestLease)
		}
		return err
	})
	flags.Func("timeout", "", func(s string) error {
		d, err := parseTime(s)
		o.timeout = &d
		return err
	})
	flags.BoolVar(&o.noWait, "no-wait", false, "")
	flags.BoolVar(&o.shared, "shared", false, "")
	flags.Func("limit", "", func(s string) (err error) {
		if o.limit, err = strconv.Atoi(s); err != nil || o.limit < 1 || o.limit > 1_000_000 {
			return errors.New("allowed: a whole number from 1 to 1000000")
		}
		return nil
	})
	flags.StringVar(&o.note, "note", "", "")
	flags.BoolVar(&o.group, "wait-group", false, "")
	if err := parse(flags, args); err != nil {
		return nil, err
	}
	rest := flags.Args()
	switch {
	case o.noWait && o.timeout != nil:
		return nil, &usageError{errors.New("--no-wait and --timeout are both given; allowed: one of them")}
	case o.shared && o.limit != 0:
		return nil, &usageError{errors.New("--shared and --limit are both given; allowed: one of them")}
	case len(rest) == 0:
		return nil, &usageError{errors.New("RESOURCE is missing; allowed: lockctl run [flags] RESOURCE -- COMMAND")}
	case len(rest) == 1, rest[1] == "--" && len(rest) == 2:
		return nil, &usageError{errors.New("COMMAND is missing; allowed: lockctl run [flags] RESOURCE -- COMMAND")}
	case rest[1] != "--":
		return nil, &usageError{fmt.Errorf("argument %q is not allowed there; allowed: flags first, then RESOURCE -- COMMAND", rest[1])}
	}
	o.resource, o.command = rest[0], rest[2:]
	return o, nil
}

// parseTime reads seconds, or a duration with units.
func parseTime(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if err != nil {
		d, err = time.ParseDuration(s + "s")
	}
	if err != nil || d < 0 {
		return 0, errors.New("allowed: seconds such as 30 or 2.5, or a time such as 500ms or 2m")
	}
	return d, nil
}

// acquireOptions are the same for the client.
func (o *runOptions) acquireOptions() []lockserver.AcquireOption {
	opts := []lockserver.AcquireOption{lockserver.Expire(o.expire), lockserver.Renewed()}
	if o.shared {
		opts = append(opts, lockserver.Shared())
	}
	if o.limit != 0 {
		opts = append(opts, lockserver.Limit(o.limit))
	}
	if o.note != "" {
		opts = append(opts, lockserver.Note(o.note))
	}
	return opts
}

// find looks the command up before the lock is taken, so that nobody waits for a slip of the pen.
func (o *runOptions) find() (string, error) {
	path, err := exec.LookPath(o.command[0])
	switch {
	case err == nil:
		return path, nil
	case errors.Is(err, exec.ErrDot):
		return "", &ending{exitNotFound, fmt.Sprintf("command %q is only in the current directory; allowed: ./%[1]s", o.command[0])}
	case errors.Is(err, exec.ErrNotFound):
		return "", &ending{exitNotFound, fmt.Sprintf("command %q was not found", o.command[0])}
	}
	return "", o.unstartable(err)
}

// unstartable is the end where the command cannot be started.
func (o *runOptions) unstartable(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return &ending{exitNotFound, fmt.Sprintf("command %q was not found", o.command[0])}
	}
	if code, ok := errors.AsType[syscall.Errno](err); ok { // without the steps on which it came up
		err = code
	}
	return &ending{exitNotExecutable, fmt.Sprintf("command %q cannot be executed: %v", o.command[0], err)}
}
