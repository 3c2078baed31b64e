//go:build unix

package main

import (
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
func (t *tool) guard(s *server, lock *lockserver.Lock, o *runOptions, path string, signals chan os.Signal) (exitCode, *farewell) {
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
		t.say("lock lost before the command was started: %s", loss(err))
		return exitLost, nil
	}
	child, err := startChild(t, o, path, lock.Token(), terminal)
	if err != nil {
		return t.end(o.unstartable(err)), nil
	}
	defer terminal.reclaim()
	s.forget() // what it was while we waited
	g := &guarded{
		tool: t, server: s, lock: lock, expire: o.expire, group: o.group, child: child, terminal: terminal, watchdog: watchdog, signals: signals,
	}
	return g.watch()
}

// guarded is a command that runs under a lock.
type guarded struct {
	tool     *tool
	server   *server
	lock     *lockserver.Lock
	expire   time.Duration
	child    *child
	terminal *terminal
	watchdog *watchdog
	signals  chan os.Signal
	group    bool // the lock is for the whole group

	ending bool      // the lock is lost, or as good as lost
	killAt time.Time // when ending
	killed bool
	next   time.Time // when check is to be called again

	unwatched   bool      // the watchdog is gone
	termAt      time.Time // when it asks the command to end
	acted       bool      // it has
	interrupted bool      // lockctl itself got SIGINT

	leftover <-chan struct{} // once the command has ended and its group has not: closed when that has
	code     exitCode        // the command's, then
	last     *farewell
}

func (g *guarded) watch() (exitCode, *farewell) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	lost := g.lock.Done()
	for {
		select {
		case change := <-g.child.changes:
			if change.Stopped() {
				g.stopped(change.StopSignal())
				break
			}
			g.code, g.last = g.result(change)
			if !g.group || g.ending {
				return g.over()
			}
			g.leftover = g.child.groupEnd()
			g.terminal.reclaim() // nobody would be told of a Ctrl-Z
		case <-g.leftover:
			g.mayBeCut()
			return g.over()
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
	g.watchdogActed() // before that is forgotten
	term := left - g.expire/watchdogTermShare
	g.termAt = time.Now().Add(term)
	if err := g.watchdog.set(g.child.pid, term, left-g.expire/killShare); err != nil && !g.unwatched {
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
		g.tool.say("lock lost, the command is ended: %s", loss(err))
	} else {
		text := "the lease cannot be renewed, the command is ended before it runs out"
		if g.server.last() != nil {
			text += " (" + g.server.standing() + ")"
		}
		g.tool.say("%s", text)
	}
	g.killAt = time.Now().Add(grace)
	if grace > 0 {
		g.child.terminate()
	}
}

// over is called when there is nothing left to guard.
func (g *guarded) over() (exitCode, *farewell) {
	g.watchdog.end()
	if err := g.lock.Err(); err != nil && !g.ending {
		g.ending = true
		g.tool.say("lock lost while the command ran: %s", loss(err))
	}
	if g.ending {
		// Whatever it started in its group must not work on without the lock.
		g.child.killGroup()
		return exitLost, nil
	}
	return g.code, g.last
}

// mayBeCut is called when something of the command has ended, perhaps by the watchdog, as lockctl was stopped.
func (g *guarded) mayBeCut() {
	if !g.ending && g.lock.Err() == nil && g.watchdogActed() {
		g.ending = true
		g.tool.say("the lease was not renewed, and the command was ended before it ran out")
	}
}

// watchdogActed says whether the watchdog has asked the command to end.
func (g *guarded) watchdogActed() bool {
	g.acted = g.acted || !g.termAt.IsZero() && !time.Now().Before(g.termAt)
	return g.acted
}

// result is what the command's end makes of lockctl's.
func (g *guarded) result(status syscall.WaitStatus) (exitCode, *farewell) {
	if !status.Signaled() {
		return exitCode(status.ExitStatus()), nil
	}
	g.mayBeCut()
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
	if g.leftover == nil || s != syscall.SIGTSTP {
		g.child.signal(s.(syscall.Signal))
		return
	}
	// Orphans do not obey Ctrl-Z, and only their parent is told that they stop.
	g.child.signal(syscall.SIGSTOP)
	g.stop()
	g.continued()
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
	if g.leftover == nil {
		g.terminal.hand(g.child.pid)
	}
	g.child.signal(syscall.SIGCONT)
}
