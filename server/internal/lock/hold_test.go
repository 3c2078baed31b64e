package lock_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// clerk asks one table, and keeps the answers and events of the newest step.
type clerk struct {
	t       *testing.T
	table   *lock.Table
	effects lock.Effects
	answers []lock.Answer
	events  []lock.Event
}

func newClerk(t *testing.T, bounds lock.Bounds) *clerk {
	k := &clerk{t: t}
	bounds.MaxLocks, bounds.MaxWaiters, bounds.MaxRemembered, bounds.MaxWait = 100, 100, 100, 24*time.Hour
	k.table = lock.New(bounds, 100, &k.effects)
	k.table.Watch(lock.EventKinds()...)
	return k
}

func (k *clerk) Answer(_ uint64, a *lock.Answer) { k.answers = append(k.answers, *a) }

// at does one step at that time, and what is due by then, each at its own.
func (k *clerk) at(now time.Duration, do func(now int64, to lock.Reply)) []lock.Answer {
	k.answers, k.events = nil, nil
	for next := k.table.Next(); next != 0 && next <= int64(now); next = k.table.Next() {
		k.table.Advance(next, 1)
		k.settle(next)
	}
	if do != nil {
		do(int64(now), lock.Reply{To: k})
	}
	k.settle(int64(now))
	return k.answers
}

func (k *clerk) settle(now int64) {
	for i := 0; i < len(k.effects.Answers); i++ {
		if due := &k.effects.Answers[i]; k.table.Settle(now, due) {
			due.Send(&due.Answer)
		}
	}
	k.events = append(k.events, k.effects.Events...)
	k.effects.Answers, k.effects.Events = nil, nil
}

func (k *clerk) acquire(now time.Duration, req *lock.Request) []lock.Answer {
	return k.at(now, func(now int64, to lock.Reply) { k.table.Acquire(now, req, to) })
}

func (k *clerk) renew(now time.Duration, owner string) lock.Answer {
	return k.at(now, func(now int64, to lock.Reply) { k.table.Renew(now, &lock.Ref{Resource: "r", Owner: owner}, 0, to) })[0]
}

func (k *clerk) show(now time.Duration) lock.Lock {
	return k.at(now, func(now int64, to lock.Reply) { k.table.Show(now, "r", to) })[0].Detail.Locks[0]
}

func (k *clerk) told(kind lock.EventKind) (events []lock.Event) {
	for _, e := range k.events {
		if e.Kind == kind {
			events = append(events, e)
		}
	}
	return events
}

const second = time.Second

func TestNoRenewalGoesBeyondTheLongestHold(t *testing.T) {
	k := newClerk(t, lock.Bounds{})
	a := k.acquire(10*second, &lock.Request{Resource: "r", Owner: "a", Expire: 4 * second, MaxHold: 10 * second})[0]
	require.Equal(t, 4*second, a.ExpiresIn)
	require.Equal(t, 10*second, a.HoldLeft)
	require.Equal(t, 4*second, k.told(lock.EventGranted)[0].ExpiresIn)
	k.acquire(11*second, &lock.Request{Resource: "r", Owner: "b", Wait: time.Minute})
	a = k.renew(13*second, "a")
	require.Equal(t, 4*second, a.ExpiresIn)
	require.Equal(t, 7*second, a.HoldLeft)
	require.Equal(t, 4*second, k.renew(16*second, "a").ExpiresIn)
	require.Equal(t, 2*second, k.renew(18*second, "a").ExpiresIn)
	require.Equal(t, 1*second, k.renew(19*second, "a").ExpiresIn)
	holder := k.show(19*second + 500*time.Millisecond).Holders[0]
	require.Equal(t, second/2, holder.ExpiresIn)
	require.Equal(t, second/2, holder.HoldLeft)
	require.Equal(t, second/2, holder.Renewed, "a bound does not hide when the lease was renewed")
	k.at(20*second-1, nil)
	require.Empty(t, k.events)
	next := k.at(20*second, nil)
	require.Equal(t, 10*second, k.told(lock.EventExpired)[0].Lasted)
	require.Equal(t, lock.Granted, next[0].Code)
	require.Equal(t, lock.Expired, k.at(20*second, func(now int64, to lock.Reply) {
		k.table.Renew(now, &lock.Ref{Resource: "r", Owner: "a", Token: a.Token}, 0, to)
	})[0].Reason)
}

func TestTheLongestHoldEndsALockWithoutALease(t *testing.T) {
	k := newClerk(t, lock.Bounds{MaxHold: 5 * second})
	a := k.acquire(second, &lock.Request{Resource: "r", Owner: "a", MaxHold: 10 * second})[0]
	require.Equal(t, 5*second, a.ExpiresIn, "the smaller counts")
	require.Equal(t, 4*second, k.renew(2*second, "a").ExpiresIn)
	require.Equal(t, lock.Never, k.show(2 * second).Holders[0].Renewed)
	k.acquire(3*second, &lock.Request{Resource: "other", Owner: "a"})
	k.at(6*second, nil)
	require.Len(t, k.told(lock.EventExpired), 1)
	k.at(8*second, nil)
	require.Equal(t, "other", k.told(lock.EventExpired)[0].Resource, "the server's bound is for all")
}

func TestAfterALoadTheLongestHoldCountsAnew(t *testing.T) {
	rec := lock.Record{Resource: "r", Owner: "a", Token: 7, Expire: 4 * second, Lease: 4 * second, MaxHold: 6 * second}
	k := newClerk(t, lock.Bounds{})
	require.NoError(t, k.table.Restore(int64(second), &rec))
	require.Equal(t, 4*second, k.renew(second, "a").ExpiresIn)
	require.Equal(t, 2*second, k.renew(5*second-1, "a").ExpiresIn-1)
	k.at(7*second, nil)
	require.Len(t, k.told(lock.EventExpired), 1)
}

func TestTheLongestHoldCostsNothingUnused(t *testing.T) {
	k := newClerk(t, lock.Bounds{})
	k.table.Watch()
	k.effects = lock.Effects{Answers: make([]lock.Due, 0, 8), Changes: make([]lock.Change, 0, 8)}
	pair := func(maxHold time.Duration) float64 {
		now := int64(second)
		req := lock.Request{Resource: "r", Owner: "a", Expire: second, MaxHold: maxHold}
		const pairs = 10_000 // now and then a pair pays for what the table remembers of many
		return testing.AllocsPerRun(1, func() {
			for range pairs {
				now += 100
				k.table.Acquire(now, &req, lock.Reply{To: nowhere{}})
				k.table.Settle(now, &k.effects.Answers[0])
				k.table.Release(now, &lock.Ref{Resource: "r", Owner: "a"}, lock.Reply{To: nowhere{}})
				k.effects.Answers, k.effects.Changes = k.effects.Answers[:0], k.effects.Changes[:0]
			}
		}) / pairs
	}
	without := pair(0)
	t.Log("allocations of a pair:", without)
	require.InDelta(t, without+2, pair(second), .1, "the bound is kept apart, so who has none has no memory for it")
}

func TestStuckHolders(t *testing.T) {
	k := newClerk(t, lock.Bounds{StuckAfter: 10 * second})
	shared := func(owner string) *lock.Request {
		return &lock.Request{Resource: "r", Owner: owner, ID: owner, Mode: lock.Shared, Expire: 8 * second}
	}
	token := k.acquire(second, shared("a"))[0].Token
	k.acquire(4*second, &lock.Request{Resource: "r", Owner: "w", ID: "w", Wait: time.Hour})
	k.renew(8*second, "a")
	k.at(14*second-1, nil)
	require.Empty(t, k.told(lock.EventStuck), "it has held for 13 s, but nobody has waited for 10 s")
	require.False(t, k.show(14*second - 1).Holders[0].Stuck)
	k.at(14*second, nil)
	require.Equal(t, []lock.Event{{
		Kind: lock.EventStuck, Mode: lock.Shared, Resource: "r", Owner: "a", ID: "a", Token: token, Lasted: 13 * second, ExpiresIn: 2 * second, Waiters: 1,
	}}, k.told(lock.EventStuck))
	require.True(t, k.show(14 * second).Holders[0].Stuck)
	s := k.table.Survey()
	require.True(t, k.table.StepSurvey(int64(14*second), s, 100))
	require.Equal(t, 1, s.Stuck)

	k.renew(15*second, "a")
	k.acquire(20*second, &lock.Request{Resource: "r", Owner: "w", ID: "w", Wait: time.Hour})
	k.renew(22*second, "a")
	k.at(28*second, nil)
	require.Empty(t, k.told(lock.EventStuck), "it is told once")

	// Who has the lock next is stuck only after it has held it for as long.
	k.at(29*second, func(now int64, to lock.Reply) { k.table.Release(now, &lock.Ref{Resource: "r", Owner: "a"}, to) })
	require.Len(t, k.told(lock.EventGranted), 1)
	k.acquire(30*second, &lock.Request{Resource: "r", Owner: "x", Wait: 30 * second})
	k.at(40*second-1, nil)
	require.Empty(t, k.told(lock.EventStuck))
	k.at(40*second, nil)
	require.Equal(t, "w", k.told(lock.EventStuck)[0].Owner, "a lock without a lease can be stuck too")
	answers := k.at(60*second, nil)
	require.Equal(t, lock.Locked, answers[0].Code, "a wait ends in its time, although a look came before")
	require.False(t, k.show(60 * second).Holders[0].Stuck, "nobody waits any more")
}
