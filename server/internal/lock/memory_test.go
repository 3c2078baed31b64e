package lock_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// At least the last half of max-remembered is remembered, and nothing comes back that was forgotten, however often the tables are used
// again.
func TestWhatIsRemembered(t *testing.T) {
	const most, all = 100, 2000
	var out lock.Effects
	table := lock.New(lock.Bounds{MaxLocks: all, MaxWaiters: 1, MaxRemembered: most, MaxWait: time.Minute}, 0, &out)
	code := func() lock.Code {
		a := out.Answers[0].Answer
		out = lock.Effects{}
		return a.Code
	}
	acquire := func(i int) lock.Code {
		name := strconv.Itoa(i)
		table.Acquire(1, &lock.Request{Resource: name, Owner: "o", ID: name}, lock.Reply{})
		return code()
	}
	for i := range all {
		require.Equal(t, lock.Granted, acquire(i))
		name := strconv.Itoa(i)
		table.Release(1, &lock.Ref{Resource: name, Owner: "o", ID: name}, lock.Reply{})
		require.Equal(t, lock.Released, code())
		for known := max(0, i-most/2+1); known <= i; known++ {
			require.Equal(t, lock.IDUsed, acquire(known), "%d after %d", known, i)
		}
	}
	for i := range all - most {
		require.Equal(t, lock.Granted, acquire(i))
	}
}
