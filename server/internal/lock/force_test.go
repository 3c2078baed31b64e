package lock_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// nowhere drops answers.
type nowhere struct{}

func (nowhere) Answer(uint64, *lock.Answer) {}

// If the timer of a lease is late, a force release finds the waiter that follows it as the holder.
func TestEvictionBehindALateTimer(t *testing.T) {
	effects := &lock.Effects{}
	table := lock.New(few().bounds, 100, effects)
	start, late := int64(time.Second), int64(3*time.Second)
	table.Acquire(start, &lock.Request{Resource: "r", Owner: "a", Expire: time.Second}, lock.Reply{To: nowhere{}, N: 1})
	require.True(t, table.Settle(start, &effects.Answers[0]))
	table.Acquire(start, &lock.Request{Resource: "r", Owner: "b", Wait: time.Minute}, lock.Reply{To: nowhere{}, N: 2})
	require.False(t, table.ForceRelease(late, &lock.ForceRelease{Resource: "r"}, 1, lock.Reply{To: nowhere{}, N: 3}))
	evicted := effects.Answers[len(effects.Answers)-1]
	require.EqualValues(t, 3, evicted.N)
	require.Equal(t, lock.ForceReleased, evicted.Answer.Code)
	require.Len(t, evicted.Answer.Detail.Holders, 1)
	require.Equal(t, "b", evicted.Answer.Detail.Holders[0].Owner)
	require.Zero(t, table.Stats().Grants)
}
