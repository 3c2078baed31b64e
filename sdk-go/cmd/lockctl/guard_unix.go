//go:build unix

package main

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"time"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

const (
	// Shares of the lease: with so much of it left the command gets SIGTERM, and SIGKILL. Renewal starts with two thirds left, so
	// that by then it has failed for a third of the lease.
	termShare = 3
	killShare = 10
	// watchdogTermShare is later than termShare, so that the watchdog acts only where lockctl does not.
	watchdogTermShare = 5
	// graceAfterLoss bounds the time between the two where the server says that the lock is gone already.
	graceAfterLoss = 5 * time.Second
	// The deadline is looked at this often, or ten times in a lease: a renewal moves it, and so does a clock that is set.
	lookAgain  = time.Second
	looksShare = 10
)

// guard runs the command while the lock is held, and returns its exit code, and what is still to be passed on.
func (t *tool) guard(lock *lockserver.Lock, o *runOptions, path string, signals chan os.Signal) (exitCode, *farewell) {
	// On Linux the command dies with the thread that started it: this one stays until lockctl ends.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	watchdog, err := startWatchdog()
	if err != nil {
		t.say("the process that watches the command cannot be started: %v", err)
		return exitNotExecutable, nil
	}
	defer watchdog.end()
	terminal := openTerminal()
	defer terminal.close()
	// From here on Ctrl-Z is for the command to obey; lockctl stops when it has.
	catchStop(signals)
	if err := lock.Err(); err != nil {
		t.say("lock lost before the command was started: %v", err)
		return exitLost, nil
	}
	child, err := startChild(t, o, path, lock.Token(), terminal)
	if err != nil {
		t.say("command %q cannot be executed: %v", o.command[0], err)
		if errors.Is(err, os.ErrNotExist) {
			return exitNotFound, nil
		}
		return exitNotExecutable, nil
	}
	defer terminal.reclaim()
	g := &guarded{
		tool: t, lock: lock, expire: o.expire, child: child, terminal: terminal, watchdog: watchdog, signals: signals,
	}
	return g.watch()
}

// guarded is a command that runs under a lock.
type guarded struct {
	tool     *tool
	lock     *lockserver.Lock
	expire   time.Duration
	child    *child
	terminal *terminal
	watchdog *watchdog
	signals  chan os.Signal

	ending bool      // the lock is lost, or as good as lost
	killAt time.Time // when ending
	killed bool
	next   time.Time // when check is to be called again

	unwatched   bool // the watchdog is gone
	interrupted bool // lockctl itself got SIGINT
}

func (g *guarded) watch() (exitCode, *farewell) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	lost := g.lock.Done()
	for {
		select {
		case change := <-g.child.changes:
			if !change.Stopped() {
				return g.ended(change)
			}
			g.stopped(change.StopSignal())
		case s := <-g.signals:
			g.caught(s)
		case <-lost:
			lost = nil
		case <-timer.C:
		}
		wait := g.check()
		g.next = time.Now().Add(wait)
		timer.Reset(wait)
	}
}

// check ends the command where the lease can no longer be trusted for long, and returns when to look again.
func (g *guarded) check() time.Duration {
	left := time.Until(g.lock.Expiry())
	err := g.lock.Err()
	const breath = 20 // a share of the lease
	switch {
	case g.ending:
	case err == nil && left > g.expire/termShare:
		g.tellWatchdog(left)
		return max(time.Millisecond, min(lookAgain, g.expire/looksShare, left-g.expire/termShare))
	case err == nil && left > g.expire/killShare && !g.next.IsZero() && time.Since(g.next) > g.expire/breath:
		// Lockctl itself was stopped for a while: renewal gets the chance that it has not had.
		return g.expire / breath
	default:
		g.end(left, err)
	}
	if !g.killed && !time.Now().Before(g.killAt) {
		g.killed = true
		g.child.signal(syscall.SIGKILL)
	}
	if g.killed {
		return lookAgain
	}
	return time.Until(g.killAt)
}

// tellWatchdog sets the times at which the command is ended should lockctl not be able to say any more.
func (g *guarded) tellWatchdog(left time.Duration) {
	if err := g.watchdog.set(g.child.pid, left-g.expire/watchdogTermShare, left-g.expire/killShare); err != nil && !g.unwatched {
		g.unwatched = true
		g.tool.say("the process that watches the command is gone: %v", err)
	}
}

// end begins to end the command.
func (g *guarded) end(left time.Duration, err error) {
	g.ending = true
	grace := left - g.expire/killShare
	if err != nil {
		grace = min(grace, graceAfterLoss, g.expire/termShare)
		g.tool.say("lock lost, the command is ended: %v", err)
	} else {
		g.tool.say("the lease cannot be renewed, the command is ended before it runs out")
	}
	g.killAt = time.Now().Add(grace)
	if grace > 0 {
		g.child.terminate()
	}
}

// ended is called when the command has ended.
func (g *guarded) ended(status syscall.WaitStatus) (exitCode, *farewell) {
	g.watchdog.end()
	if !g.ending {
		left, err := time.Until(g.lock.Expiry()), g.lock.Err()
		if err != nil {
			g.tool.say("lock lost while the command ran: %v", err)
		} else if status.Signaled() && left <= g.expire/termShare {
			g.tool.say("the lease was not renewed, and the command was ended before it ran out")
		}
		g.ending = err != nil || status.Signaled() && left <= g.expire/termShare
	}
	switch {
	case g.ending:
		// Whatever it started in its group must not work on without the lock.
		g.child.killGroup()
		return exitLost, nil
	case !status.Signaled():
		return exitCode(status.ExitStatus()), nil
	}
	code := exitSignal + exitCode(status.Signal())
	switch {
	case status.Signal() != syscall.SIGINT:
		return code, nil
	case g.terminal.isLent():
		return code, &farewell{signal: syscall.SIGINT, group: true}
	case g.interrupted:
		return code, &farewell{signal: syscall.SIGINT}
	}
	return code, nil
}

// caught is called when lockctl got a signal.
func (g *guarded) caught(s os.Signal) {
	if s == syscall.SIGCONT {
		g.continued()
		return
	}
	g.interrupted = g.interrupted || s == syscall.SIGINT
	g.child.signal(s.(syscall.Signal))
}

// stopped is called when the command was stopped. On a terminal lockctl's group then stops too, so that the shell sees its job stopped
// and has its terminal back. Elsewhere lockctl goes on and renews.
func (g *guarded) stopped(by syscall.Signal) {
	wantsTerminal := by == syscall.SIGTTIN || by == syscall.SIGTTOU
	switch {
	case g.ending, wantsTerminal && g.terminal.hand(g.child.pid):
		g.child.signal(syscall.SIGCONT)
	case g.terminal != nil:
		g.terminal.reclaim()
		g.stop()
		g.continued()
	}
}

// stop stops lockctl's process group, and returns when it was continued. Where no shell could do that it does nothing: the group that
// leads the session is no shell's job.
func (g *guarded) stop() {
	if session() == syscall.Getpgrp() {
		return
	}
	if err := syscall.Kill(0, syscall.SIGSTOP); err != nil {
		g.tool.say("cannot stop: %v", err)
		return
	}
	const patience = 100 * time.Millisecond // a thread may run on for a moment, and SIGCONT is told a moment late
	for stopping := time.After(patience); ; {
		select {
		case s := <-g.signals:
			if s == syscall.SIGCONT {
				return
			}
			g.caught(s)
		case <-stopping:
			return
		}
	}
}

// continued is called when lockctl was continued. The command may go on only under the lock.
func (g *guarded) continued() {
	if g.lock.Err() != nil {
		return // check ends it
	}
	g.terminal.hand(g.child.pid)
	g.child.signal(syscall.SIGCONT)
}
