package main

import (
	"context"
	"errors"
	"os"
	"os/signal"
	"syscall"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// run is `lockctl run`.
func (t *tool) run(args []string) exitCode {
	o, err := parseRun(args)
	if err != nil {
		return t.end(err)
	}
	path, err := o.find()
	if err != nil {
		return t.end(err)
	}
	s, err := connect()
	if err != nil {
		return t.end(err)
	}
	defer s.Close()

	// From here on no signal ends lockctl by itself: a lock would stay behind, or a command without one.
	signals := make(chan os.Signal, 16)
	catchSignals(signals)
	defer signal.Stop(signals)

	lock, code, last := t.acquire(s, o, signals)
	if lock != nil {
		code, last = t.guard(s, lock, o, path, signals)
		t.release(s, lock)
	}
	if last != nil {
		_ = s.Close() // it returns no error; what still has to be cancelled is
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
func (t *tool) acquire(s *server, o *runOptions, signals <-chan os.Signal) (*lockserver.Lock, exitCode, *farewell) {
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
		lock, err := o.take(ctx, s.Client)
		got <- result{lock, err}
	}()
	stopTelling := t.tellWaiting(ctx, s, o.resource)
	var caught os.Signal
	for {
		select {
		case r := <-got:
			stopTelling()
			switch {
			case r.lock != nil && caught != nil:
				t.release(s, r.lock)
				return nil, exitSignal + exitCode(caught.(syscall.Signal)), farewellOf(caught)
			case r.lock != nil:
				return r.lock, exitOK, nil
			case caught != nil:
				return nil, exitSignal + exitCode(caught.(syscall.Signal)), farewellOf(caught)
			}
			return nil, t.end(o.refused(s.ended(o.resource, r.err))), nil
		case sig := <-signals:
			if ends(sig) {
				caught = sig
				cancel()
			}
		}
	}
}

// take takes the lock as the options say.
func (o *runOptions) take(ctx context.Context, client *lockserver.Client) (*lockserver.Lock, error) {
	if o.noWait || o.timeout != nil && *o.timeout == 0 {
		return client.TryAcquire(ctx, o.resource, o.acquireOptions()...)
	}
	return client.Acquire(ctx, o.resource, o.acquireOptions()...)
}

// refused makes a time-out of being told that the lock is held, where there was no time.
func (o *runOptions) refused(err error) error {
	var end *ending
	if errors.As(err, &end) && end.code == exitHeld && !o.noWait {
		return &ending{exitTimeout, end.text}
	}
	return err
}

func (t *tool) release(s *server, lock *lockserver.Lock) {
	if _, err := lock.Release(context.Background()); err != nil {
		t.say("the lock could not be released, and ends with its lease: %v", s.ended(lock.Resource(), err))
	}
}
