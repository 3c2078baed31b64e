package lock_test

import (
	"fmt"
	"time"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// world is what a history is about.
type world struct {
	resources, owners, idents []string
	kinds                     []lock.Request
	bounds                    lock.Bounds
	pauses                    []time.Duration
	crowd                     bool // many claims: most steps add one, and the table is called whenever it asks for it
}

// few is a world of few names, so that they meet.
func few() world {
	return world{
		resources: []string{"a", "b", "ab"}, owners: []string{"x", "y", "z"}, idents: []string{"", "", "1", "2"},
		kinds: []lock.Request{
			{}, {}, {Mode: lock.Shared}, {Mode: lock.Shared}, {Mode: lock.Semaphore, Limit: 1}, {Mode: lock.Semaphore, Limit: 2},
		},
		pauses: pauses,
		bounds: lock.Bounds{MaxLocks: 6, MaxWaiters: 6, MaxRemembered: 1000, MaxWait: 60 * time.Second},
	}
}

// readers is a world of waiters that hold one another back.
func readers() world {
	return world{
		resources: []string{"a"}, owners: []string{"x", "y", "z"}, idents: []string{"", "1", "2", "3"},
		kinds:  []lock.Request{{}, {Mode: lock.Shared}, {Mode: lock.Shared}},
		pauses: []time.Duration{0, time.Microsecond, time.Microsecond, time.Millisecond, 20 * time.Millisecond, time.Second},
		bounds: lock.Bounds{MaxLocks: 10, MaxWaiters: 10, MaxRemembered: 1000, MaxWait: 60 * time.Second},
	}
}

// stuck is a world in which many wait for long, and no lock is held for too long.
func stuck() world {
	w := few()
	w.bounds.MaxHold, w.bounds.StuckAfter, w.bounds.MaxWait = 70*time.Second+7, 3*time.Second+11, time.Hour
	return w
}

// crowded is a world of many claims on one resource.
func crowded() world {
	w := world{
		resources: []string{"a"}, idents: []string{""},
		kinds:  []lock.Request{{Mode: lock.Shared}, {Mode: lock.Semaphore, Limit: 40}, {Mode: lock.Semaphore, Limit: 40}},
		bounds: lock.Bounds{MaxLocks: 60, MaxWaiters: 60, MaxRemembered: 10000, MaxWait: 60 * time.Second},
		pauses: pauses[:4],
		crowd:  true,
	}
	for i := range 20 {
		w.owners, w.idents = append(w.owners, fmt.Sprint("o", i)), append(w.idents, fmt.Sprint(i))
	}
	return w
}

// Durations of different kinds never add up to the same instant.
var (
	notes    = []string{"", "why"}
	expires  = []time.Duration{0, time.Millisecond + 1, 300*time.Millisecond + 1, 5*time.Second + 1, 100*time.Second + 1}
	maxHolds = []time.Duration{0, 0, 0, 0, 0, time.Millisecond + 5, 2*time.Second + 5, 80*time.Second + 5}
	waits    = []time.Duration{0, 0, 20*time.Millisecond + 3, 2*time.Second + 3, 50*time.Second + 3, time.Hour}
	pauses   = []time.Duration{
		0, time.Microsecond, time.Millisecond, 10 * time.Millisecond, 200 * time.Millisecond, time.Second, 5 * time.Second,
		10 * time.Second, 31 * time.Second, 61 * time.Second, 125 * time.Second,
	}
)
