package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// run is `lockctl run`.
func (t *tool) run(args []string) exitCode {
	o, err := parseRun(args)
	var bad *usageError
	if errors.As(err, &bad) {
		return t.usage(bad.err)
	}
	path, code, err := o.find()
	if err != nil {
		t.say("%v", err)
		return code
	}
	client, err := connect()
	if err != nil {
		t.say("%v", err)
		return exitServer
	}
	defer client.Close()

	// From here on no signal ends lockctl by itself: a lock would stay behind, or a command without one.
	signals := make(chan os.Signal, 16)
	catchSignals(signals)
	defer signal.Stop(signals)

	lock, code, last := t.acquire(client, o, signals)
	if lock != nil {
		code, last = t.guard(lock, o, path, signals)
		t.release(lock)
	}
	if last != nil {
		_ = client.Close() // it returns no error; what still has to be cancelled is
		last.pass()
	}
	return code
}

// farewell is Ctrl-C for whom it has still to reach. A script that runs lockctl ends by it only where it sees it end lockctl, too.
type farewell struct {
	signal os.Signal
	group  bool // only the command got it so far, and not lockctl's process group
}

// farewellOf is what a signal that ended lockctl's wait leaves to do.
func farewellOf(s os.Signal) *farewell {
	if s == os.Interrupt {
		return &farewell{signal: s}
	}
	return nil
}

// acquire waits for the lock, until it is granted or a signal comes.
func (t *tool) acquire(client *lockserver.Client, o *runOptions, signals <-chan os.Signal) (*lockserver.Lock, exitCode, *farewell) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	if o.timeout != nil && *o.timeout > 0 { // a context that has ended would not even try
		var stop context.CancelFunc
		ctx, stop = context.WithTimeout(ctx, *o.timeout)
		defer stop()
	}
	type result struct {
		lock *lockserver.Lock
		err  error
	}
	got := make(chan result, 1)
	go func() {
		lock, err := o.take(ctx, client)
		got <- result{lock, err}
	}()
	stopTelling := t.tellWaiting(ctx, client, o.resource)
	var caught os.Signal
	for {
		select {
		case r := <-got:
			stopTelling()
			switch {
			case r.lock != nil && caught != nil:
				t.release(r.lock)
				return nil, exitSignal + exitCode(caught.(syscall.Signal)), farewellOf(caught)
			case r.lock != nil:
				return r.lock, exitOK, nil
			case caught != nil:
				return nil, exitSignal + exitCode(caught.(syscall.Signal)), farewellOf(caught)
			}
			t.say("%s", explain(r.err))
			return nil, codeOf(r.err), nil
		case s := <-signals:
			if ends(s) {
				caught = s
				cancel()
			}
		}
	}
}

// take takes the lock as the options say.
func (o *runOptions) take(ctx context.Context, client *lockserver.Client) (*lockserver.Lock, error) {
	opts := o.acquireOptions()
	switch {
	case o.noWait:
		return client.TryAcquire(ctx, o.resource, opts...)
	case o.timeout != nil && *o.timeout == 0:
		lock, err := client.TryAcquire(ctx, o.resource, opts...)
		if errors.Is(err, lockserver.ErrLocked) {
			return nil, &lockserver.Error{Code: lockserver.ErrLockTimeout, Resource: o.resource, Message: "it is held, and --timeout is 0"}
		}
		return lock, err
	}
	return client.Acquire(ctx, o.resource, opts...)
}

func (t *tool) release(lock *lockserver.Lock) {
	if _, err := lock.Release(context.Background()); err != nil {
		t.say("the lock could not be released, and ends with its lease: %v", err)
	}
}

// explain says of an error what a person wants to know first.
func explain(err error) string {
	var locked *lockserver.LockedError
	if errors.As(err, &locked) && len(locked.Holders) > 0 {
		text := fmt.Sprintf("held by %s", clean(locked.Holders[0].Owner))
		if more := locked.HoldersTotal - 1; more > 0 {
			text += fmt.Sprintf(" and %d more", more)
		}
		return text
	}
	if errors.Is(err, lockserver.ErrLockTimeout) {
		return "gave up waiting: " + err.Error()
	}
	return err.Error()
}
