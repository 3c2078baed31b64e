package engine_test

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/engine"
	"github.com/lockserver/lockserver/server/internal/lock"
)

var everything = []lock.EventKind{
	lock.EventQueued, lock.EventLeft, lock.EventGranted, lock.EventReleased, lock.EventExpired, lock.EventEvicted, lock.EventHandedBack,
}

// happened returns what the subscription has by now.
func happened(t *testing.T, s *engine.Subscription) (events []lock.Event) {
	t.Helper()
	synctest.Wait()
	require.Zero(t, s.Dropped.Load())
	for {
		select {
		case more, ok := <-s.Events:
			require.True(t, ok)
			events = append(events, more...)
		default:
			return events
		}
	}
}

func TestEventsAreToldWhenTheyAreDurable(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		events := s.Subscribe(10, everything...)
		s.store.hold()
		s.acquire(lock.Request{Resource: "r", Owner: "a", Expire: time.Minute})
		waiter := s.acquire(lock.Request{Resource: "r", Owner: "b", ID: "1", Wait: 5 * time.Second})
		synctest.Wait()
		require.Empty(t, happened(t, events), "not even the waiter, who came later")
		s.store.free()
		got := happened(t, events)
		require.Len(t, got, 2)
		token := got[0].Token
		require.Equal(t, []lock.Event{
			{Kind: lock.EventGranted, Resource: "r", Owner: "a", Token: token, ExpiresIn: time.Minute},
			{Kind: lock.EventQueued, Resource: "r", Owner: "b", ID: "1", ExpiresIn: lock.NoLease, Waiters: 1},
		}, got)

		time.Sleep(time.Second)
		s.Leave(waiter.ticket)
		require.Equal(t, []lock.Event{{
			Kind: lock.EventLeft, Why: lock.WhyGone, Resource: "r", Owner: "b", ID: "1", Lasted: time.Second, ExpiresIn: lock.NoLease, Waiters: 1,
		}}, happened(t, events), "no change, so nothing to wait for")
		time.Sleep(time.Minute)
		require.Equal(t, []lock.Event{
			{
				Kind: lock.EventLeft, Why: lock.WhyPlaceLost, Resource: "r", Owner: "b", ID: "1", Lasted: time.Second + lock.PlaceKept,
				ExpiresIn: lock.NoLease,
			},
			{Kind: lock.EventExpired, Resource: "r", Owner: "a", Token: token, Lasted: time.Minute},
		}, happened(t, events))
	})
}

// What an event tells, beside who and what.
func TestEventsTellOfLeaseAndQueue(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		events := s.Subscribe(10, lock.EventRenewed, lock.EventReleased, lock.EventGranted)
		s.acquire(lock.Request{Resource: "r", Owner: "a", Note: "why", Mode: lock.Semaphore, Limit: 1, Expire: time.Minute})
		s.acquire(lock.Request{Resource: "r", Owner: "b", Mode: lock.Semaphore, Limit: 1, Wait: time.Minute})
		token := happened(t, events)[0].Token
		time.Sleep(time.Second)
		s.renew(lock.Ref{Resource: "r", Owner: "a"}, 0).is(lock.Granted)
		time.Sleep(time.Second)
		events.Want(lock.EventReleased, lock.EventGranted)
		s.renew(lock.Ref{Resource: "r", Owner: "a"}, 0).is(lock.Granted)
		time.Sleep(time.Second)
		s.release(lock.Ref{Resource: "r", Owner: "a"}).is(lock.Released)
		got := happened(t, events)
		a := lock.Event{Mode: lock.Semaphore, Limit: 1, Resource: "r", Owner: "a", Note: "why", Token: token}
		renewed, released := a, a
		renewed.Kind, renewed.Lasted, renewed.ExpiresIn, renewed.Waiters = lock.EventRenewed, time.Second, time.Minute, 1
		released.Kind, released.Lasted, released.ExpiresIn, released.Waiters = lock.EventReleased, 3*time.Second, 59*time.Second, 1
		require.Len(t, got, 3, "a renewal that nobody wanted is not told")
		require.Equal(t, []lock.Event{renewed, released}, got[:2])
		require.Equal(t, lock.EventGranted, got[2].Kind)
		require.Equal(t, 3*time.Second, got[2].Lasted)
		require.Zero(t, got[2].Waiters)
	})
}

// A reader that does not read holds nobody up, and learns how much it missed.
func TestEventsThatFindNoRoomAreDropped(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		granted, ends := s.Subscribe(3, lock.EventGranted), s.Subscribe(100, lock.EventReleased, lock.EventEvicted)
		for range 5 {
			s.take("r", "a")
			s.release(lock.Ref{Resource: "r", Owner: "a"}).is(lock.Released)
		}
		require.Len(t, granted.Events, 3)
		require.EqualValues(t, 2, granted.Dropped.Swap(0))
		require.Len(t, happened(t, granted), 3)
		require.Len(t, happened(t, ends), 5, "another's queue is another's affair")

		s.take("r", "a")
		require.Len(t, happened(t, granted), 1)
	})
}

func TestAFollowerTakesAllAtOnce(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		f := s.Follow(3, lock.EventGranted)
		for range 5 {
			s.take("r", "a")
			s.release(lock.Ref{Resource: "r", Owner: "a"}).is(lock.Released)
		}
		<-f.More()
		require.Len(t, f.Take(nil), 3)
		require.EqualValues(t, 2, f.Dropped.Swap(0), "there was no room")
		s.take("r", "a")
		<-f.More()
		require.Len(t, f.Take(nil), 1)
		f.Close()
		_, open := <-f.More()
		require.False(t, open)
		require.NoError(t, s.Close(t.Context()))
		_, open = <-s.Follow(3, lock.EventGranted).More()
		require.False(t, open, "an engine that has ended has no events")
	})
}

func TestSubscriptionsEnd(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		closed, failed := s.Subscribe(10, everything...), s.Subscribe(10, everything...)
		s.take("r", "a")
		require.Len(t, <-closed.Events, 1)
		closed.Close()
		_, open := <-closed.Events
		require.False(t, open)
		closed.Close()

		waiter := s.acquire(lock.Request{Resource: "r", Owner: "b", Wait: time.Minute})
		s.store.lose(errors.New("gone"))
		waiter.is(lock.Unavailable)
		require.Equal(t, lock.EventGranted, (<-failed.Events)[0].Kind)
		require.Equal(t, lock.EventQueued, (<-failed.Events)[0].Kind)
		_, open = <-failed.Events
		require.False(t, open, "what a failing engine does to its waiters is no event")
		failed.Close()
		_, open = <-s.Subscribe(10, everything...).Events
		require.False(t, open, "a failed engine has no events")
	})
}
