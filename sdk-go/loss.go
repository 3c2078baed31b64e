package lockserver

import "time"

// usable returns why the lock can no longer be renewed, or nil.
func (l *Lock) usable() error {
	l.checkDeadline()
	l.mu.Lock()
	defer l.mu.Unlock()
	switch l.state {
	case lost:
		return l.err
	case released, releasing:
		return &Error{Code: ErrNotHeld, Resource: l.resource, Reason: ReasonReleased, Message: "it was released before"}
	}
	return nil
}

// overdue tells whether the safe deadline has passed on either clock.
func (l *Lock) overdue() bool { return l.leased && l.deadline.until(l.client.clock.now()) <= 0 }

// watchDeadline makes checkDeadline run at the deadline. It looks more often than that, because a clock that is set, or a machine that
// was suspended, moves the deadline without any timer noticing.
func (l *Lock) watchDeadline() {
	next := min(l.deadline.until(l.client.clock.now()), l.client.bounds.Tick)
	if l.watch == nil {
		l.watch = time.AfterFunc(next, l.checkDeadline)
	} else {
		l.watch.Reset(next)
	}
}

// checkDeadline finds out whether the lease ran out.
func (l *Lock) checkDeadline() {
	l.mu.Lock()
	if l.state != held || !l.leased {
		l.mu.Unlock()
		return
	}
	if !l.overdue() {
		l.watchDeadline()
		l.mu.Unlock()
		return
	}
	l.mu.Unlock()
	l.lose(ReasonExpired, "the lease ran out before it was renewed")
}

// lose ends the lock as lost, unless it has ended. A reason that came from the server is also the answer to a later release.
func (l *Lock) lose(reason, message string) {
	l.client.beginCleanup()
	defer l.client.done()
	l.mu.Lock()
	if l.state == lost || l.state == released {
		l.mu.Unlock()
		return
	}
	l.err = newLockLost(l.resource, l.token, reason, message)
	l.stopTimers()
	l.end(lost)
	told, err := l.onLoss, l.err
	l.mu.Unlock()

	l.client.lose(l)
	l.client.keeper.leave(l)
	if told != nil {
		told(err)
	}
	l.client.logger.Warn("lockserver: lock lost", "resource", l.resource, "token", l.token, "reason", reason)
}

// loseByServer is lose if the server said so.
func (l *Lock) loseByServer(failure *Error) {
	l.mu.Lock()
	if l.state == released {
		l.mu.Unlock()
		return // a release that was answered stays what it was
	}
	l.result = releaseResult{answered: true}
	l.mu.Unlock()
	l.lose(failure.Reason, "the server says that it is not held any more: "+failure.Reason)
	l.client.keeper.finish(l)
}

func (l *Lock) stopTimers() {
	if l.watch != nil {
		l.watch.Stop()
	}
	if l.leased {
		l.client.keeper.drop(l)
	}
	if l.stop != nil {
		l.stop()
	}
}

// notifyLoss has f called when the lock is lost, at once if it is already.
func (l *Lock) notifyLoss(f func(error)) {
	l.mu.Lock()
	l.onLoss = f
	err := l.err
	l.mu.Unlock()
	if err != nil {
		f(err)
	}
}
