package engine

import (
	"github.com/lockserver/lockserver/server/internal/lock"
	"github.com/lockserver/lockserver/server/internal/store"
)

// watchRoom tells the table whether the store is full, until the engine ends.
func (e *Engine) watchRoom(s store.Bounded, changed <-chan struct{}) {
	for e.host.Wait(changed, e.done, nil, nil) == 0 {
		var full bool
		full, changed = s.Full()
		e.setFull(full)
	}
}

func (e *Engine) setFull(full bool) {
	before := false
	e.do(lock.Reply{}, func(int64) {
		before = e.table.Full()
		e.table.SetFull(full)
	})
	switch {
	case full && !before:
		e.log.Warn("the store is full: no lock is granted until it has room again; releases go on")
	case before && !full:
		e.log.Info("the store has room again")
		for more := true; more; e.host.Yield() {
			more = false
			e.awaitRoom()
			e.do(lock.Reply{}, func(now int64) { more = e.table.Promote(now, budget) })
		}
	}
}

// Full reports whether the store is full.
func (e *Engine) Full() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.table.Full()
}
