package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// tellEvery is how often a person who waits is told how things stand. It costs the server a look each time, and is done on a terminal
// only; the lock itself comes without asking.
const tellEvery = time.Second

// tellWaiting tells on a terminal who holds the lock and at which place we stand, until it is stopped.
func (t *tool) tellWaiting(ctx context.Context, s *server, resource string) (stop func()) {
	if !isTerminal(t.stderr) {
		return func() {}
	}
	ctx, cancel := context.WithCancel(ctx)
	var done sync.WaitGroup
	done.Go(func() {
		line := &statusLine{to: t}
		defer line.clear()
		tick := time.NewTicker(tellEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			if !inForeground(t.stderr) {
				continue // somebody else types there
			}
			s.forget()
			asking, stop := context.WithTimeout(ctx, tellEvery)
			info, err := s.Show(asking, resource)
			stop()
			switch {
			case ctx.Err() != nil:
				return
			case errors.Is(err, lockserver.ErrNotFound):
				line.clear()
			case err != nil:
				line.set("waiting for %s: %s", quote(resource), s.standing())
			default:
				line.set("waiting for %s: %s", quote(resource), standing(info, s.Owner()))
			}
		}
	})
	return func() {
		cancel()
		done.Wait()
	}
}

// standing says who holds the lock and where the owner is in its queue.
func standing(info *lockserver.LockInfo, owner string) string {
	text := heldBy(info.Holders, info.HoldersTotal)
	for _, w := range info.Queue {
		if w.Owner == owner {
			return text + fmt.Sprintf("; we are at place %d of %d", w.Position, info.Waiters)
		}
	}
	return text + fmt.Sprintf("; %d wait", info.Waiters)
}

// statusLine is a line that is written over.
type statusLine struct {
	to    *tool
	shown bool
}

func (l *statusLine) set(format string, args ...any) {
	fmt.Fprintf(l.to.stderr, "\r\x1b[K"+format, args...)
	l.shown = true
}

func (l *statusLine) clear() {
	if l.shown {
		fmt.Fprint(l.to.stderr, "\r\x1b[K")
		l.shown = false
	}
}
