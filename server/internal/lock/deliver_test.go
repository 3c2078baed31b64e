package lock_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

type answers map[uint64]lock.Answer

func (a answers) Answer(n uint64, answer *lock.Answer) { a[n] = *answer }

// A renewal that was answered before its acquire has promised the grant: the acquire, for which there is no time left, ends nothing.
func TestAnsweredRenewalGivesTheGrantOut(t *testing.T) {
	const ms = int64(time.Millisecond)
	for _, id := range []string{"", "1"} {
		var out lock.Effects
		said := answers{}
		table := lock.New(lock.Bounds{MaxLocks: 9, MaxWaiters: 9, MaxRemembered: 9, MaxWait: time.Minute}, 0, &out)
		settle := func(now int64, durable uint64) {
			due := out.Answers
			out.Answers = nil
			for _, d := range due {
				if d.After > durable {
					out.Answers = append(out.Answers, d)
				} else if table.Settle(now, &d) {
					d.Send(&d.Answer)
				}
			}
		}
		req := lock.Request{Resource: "r", Owner: "a", ID: id, Mode: lock.Shared, Expire: 10 * time.Millisecond}
		table.Acquire(1*ms, &req, lock.Reply{To: said, N: 1})
		table.Renew(5*ms, &lock.Ref{Resource: "r", Owner: "a"}, 20*time.Millisecond, lock.Reply{To: said, N: 2})
		table.Acquire(6*ms, &lock.Request{Resource: "r", Owner: "b", Mode: lock.Shared}, lock.Reply{To: said, N: 3})
		require.Len(t, out.Changes, 3, "two grants, and a lease that is longer")

		settle(12*ms, out.Changes[1].Seq)
		require.NotContains(t, said, uint64(1), "it waits for the last change to tell the new deadline")
		require.Equal(t, lock.Granted, said[2].Code)
		require.Equal(t, 13*time.Millisecond, said[2].ExpiresIn)
		require.Equal(t, 25*ms, table.Next())

		out.Changes = nil
		settle(25*ms-ms/2, 9)
		require.Equal(t, lock.Granted, said[3].Code)
		require.NotEqual(t, lock.Granted, said[1].Code)
		require.Empty(t, out.Changes, "the grant is held until its deadline")
		require.False(t, table.Advance(25*ms, 9))
		require.Len(t, out.Changes, 1)
		require.True(t, out.Changes[0].Delete)
	}
}

// leased is a table with a lock whose lease ends at 1 + 5 s. Answers leave when settle says so.
func leased() (table *lock.Table, ref lock.Ref, said answers, settle func(now int64)) {
	var out lock.Effects
	said = answers{}
	table = lock.New(lock.Bounds{MaxLocks: 9, MaxWaiters: 9, MaxRemembered: 9, MaxWait: time.Minute}, 0, &out)
	settle = func(now int64) {
		for len(out.Answers) > 0 {
			due := out.Answers[0]
			out.Answers = out.Answers[1:]
			if table.Settle(now, &due) {
				due.Send(&due.Answer)
			}
		}
	}
	table.Acquire(1, &lock.Request{Resource: "r", Owner: "a", ID: "1", Expire: 5 * time.Second}, lock.Reply{To: said, N: 1})
	settle(1)
	return table, lock.Ref{Resource: "r", Owner: "a", Token: said[1].Token}, said, settle
}

// A renewal that has no time left to tell was not in vain if another one followed, even if the grant was released since.
func TestRenewalBeforeAnotherIsNotDenied(t *testing.T) {
	const second = int64(time.Second)
	table, ref, said, settle := leased()
	table.Renew(1, &ref, 0, lock.Reply{To: said, N: 2})
	table.Renew(1, &ref, 30*time.Second, lock.Reply{To: said, N: 3})
	table.Release(6*second, &ref, lock.Reply{To: said, N: 4})
	settle(7 * second)
	require.Equal(t, lock.Granted, said[2].Code)
	require.Equal(t, said[3].ExpiresIn, said[2].ExpiresIn)
	require.Equal(t, lock.Granted, said[3].Code)
	require.Equal(t, lock.Released, said[4].Code)
}

// Once an answer has said that a lease is over, no renewal succeeds in the moment that is left of it; up to then, each does.
func TestRenewalAfterTheLeaseWasToldToBeOver(t *testing.T) {
	const end = 1 + int64(5*time.Second)
	table, ref, said, settle := leased()
	table.Renew(1, &ref, 0, lock.Reply{To: said, N: 2})
	settle(end - int64(time.Millisecond) + 1)
	require.Equal(t, lock.Expired, said[2].Reason)
	table.Renew(end-1, &ref, time.Minute, lock.Reply{To: said, N: 3})
	settle(end - 1)
	require.Equal(t, lock.NotHeld, said[3].Code)
	require.Equal(t, lock.Expired, said[3].Reason)

	table, ref, said, settle = leased()
	table.Renew(end-1, &ref, time.Minute, lock.Reply{To: said, N: 2})
	settle(end)
	require.Equal(t, lock.Granted, said[2].Code)
}

// A grant goes back once all answers that told of it are lost, in whatever order, and no sooner.
func TestGrantOfWhichEveryAnswerIsLostGoesBack(t *testing.T) {
	const first, second, third = 0, 1, 2
	for _, lost := range [][]int{{first, second, third}, {third, second, first}, {second, third, first}, {first, third, second}} {
		var out lock.Effects
		table := lock.New(lock.Bounds{MaxLocks: 9, MaxWaiters: 9, MaxRemembered: 9, MaxWait: time.Minute}, 0, &out)
		ask := func(now int64) lock.Ticket {
			ticket := table.Acquire(now, &lock.Request{Resource: "r", Owner: "a", ID: "1"}, lock.Reply{})
			require.Len(t, out.Answers, 1)
			require.True(t, table.Settle(now, &out.Answers[0]))
			require.Equal(t, lock.Granted, out.Answers[0].Answer.Code)
			out.Answers = nil
			return ticket
		}
		tickets := []lock.Ticket{ask(1), ask(2), ask(3)}
		for i, n := range lost {
			require.Zero(t, table.Next(), "an answer may have arrived")
			table.Leave(int64(10+i), tickets[n])
			table.Leave(int64(20+i), tickets[n])
		}
		require.Equal(t, 12+int64(lock.PlaceKept), table.Next(), "after %v", lost)
		out.Changes = nil
		table.Advance(table.Next(), 9)
		require.Len(t, out.Changes, 1)
		require.True(t, out.Changes[0].Delete)
	}
}

// An answer of long ago counts as delivered.
func TestAnswerOfLongAgoCountsAsDelivered(t *testing.T) {
	var out lock.Effects
	table := lock.New(lock.Bounds{MaxLocks: 9, MaxWaiters: 9, MaxRemembered: 9, MaxWait: time.Minute}, 0, &out)
	var tickets []lock.Ticket
	for now := range int64(300) {
		tickets = append(tickets, table.Acquire(1+now, &lock.Request{Resource: "r", Owner: "a", ID: "1"}, lock.Reply{}))
		require.True(t, table.Settle(1+now, &out.Answers[0]))
		out.Answers = nil
	}
	for _, ticket := range tickets {
		table.Leave(400, ticket)
	}
	require.Zero(t, table.Next())
}
