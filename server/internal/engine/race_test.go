package engine_test

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/lockserver/lockserver/server/internal/lock"
)

// A waiter that goes away passes the lock on, whether its grant had taken effect, or was durable, or not.
func TestGrantAgainstCancel(t *testing.T) {
	for name, when := range map[string]func(s *system, leave func()){
		"before the grant": func(s *system, leave func()) { leave(); s.release(lock.Ref{Resource: "r", Owner: "a"}) },
		"after the grant":  func(s *system, leave func()) { s.release(lock.Ref{Resource: "r", Owner: "a"}); leave() },
		"while it is committed": func(s *system, leave func()) {
			s.store.hold()
			s.release(lock.Ref{Resource: "r", Owner: "a"}).pending()
			leave()
			s.store.free()
		},
	} {
		t.Run(name, func(t *testing.T) {
			run(t, func(t *testing.T, s *system) {
				s.take("r", "a")
				goes := s.acquire(lock.Request{Resource: "r", Owner: "b", Wait: time.Minute})
				next := s.acquire(lock.Request{Resource: "r", Owner: "c", Wait: time.Minute})
				when(s, func() { s.Leave(goes.ticket) })
				next.is(lock.Granted)
				s.acquire(lock.Request{Resource: "r", Owner: "b"}).is(lock.Locked)
			})
		})
	}
}

// A waiter cancelled by its id gets no grant, or had it already; the lock moves on in both cases.
func TestGrantAgainstCancelByID(t *testing.T) {
	cancel := lock.Ref{Resource: "r", Owner: "b", ID: "1"}
	run(t, func(t *testing.T, s *system) {
		s.take("r", "a")
		waiter := s.acquire(lock.Request{Resource: "r", Owner: "b", ID: "1", Wait: time.Minute})
		next := s.acquire(lock.Request{Resource: "r", Owner: "c", Wait: time.Minute})
		s.release(cancel).is(lock.Cancelled)
		waiter.is(lock.IDUsed)
		s.release(cancel).is(lock.Cancelled)
		s.release(lock.Ref{Resource: "r", Owner: "a"}).is(lock.Released)
		next.is(lock.Granted)
	})
	run(t, func(t *testing.T, s *system) {
		s.take("r", "a")
		waiter := s.acquire(lock.Request{Resource: "r", Owner: "b", ID: "1", Wait: time.Minute})
		next := s.acquire(lock.Request{Resource: "r", Owner: "c", Wait: time.Minute})
		s.store.hold()
		s.release(lock.Ref{Resource: "r", Owner: "a"}).pending()
		released := s.release(cancel) // the waiter holds the lock by now, but nobody has been told
		s.store.free()
		released.is(lock.Released)
		waiter.is(lock.IDUsed)
		next.is(lock.Granted)
	})
}

func TestCancelBeforeItsAcquire(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		ref := lock.Ref{Resource: "r", Owner: "a", ID: "1"}
		require.Equal(t, lock.Unknown, s.release(ref).is(lock.NotHeld).Reason)
		s.acquire(lock.Request{Resource: "r", Owner: "a", ID: "1"}).is(lock.IDUsed)
		require.Equal(t, lock.Unknown, s.release(ref).is(lock.NotHeld).Reason)
		s.show("r").is(lock.NotFound)
		// The id counts for that owner on that resource alone.
		s.acquire(lock.Request{Resource: "r", Owner: "b", ID: "1"}).is(lock.Granted)
		s.acquire(lock.Request{Resource: "r2", Owner: "a", ID: "1"}).is(lock.Granted)
	})
}

// A renewal before the deadline keeps the lease, one at the deadline is too late, however late the alarm.
func TestExpiryAgainstRenew(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		ref := lock.Ref{Resource: "r", Owner: "a"}
		s.acquire(lock.Request{Resource: "r", Owner: "a", Expire: time.Minute}).is(lock.Granted)
		waiter := s.acquire(lock.Request{Resource: "r", Owner: "b", Wait: time.Minute, Expire: time.Minute})
		time.Sleep(time.Minute - time.Nanosecond)
		require.Equal(t, time.Minute, s.renew(ref, 0).is(lock.Granted).ExpiresIn)
		time.Sleep(time.Nanosecond)
		s.renew(ref, 0).is(lock.Granted)
		waiter.is(lock.Locked) // its wait is over
		time.Sleep(time.Minute)
		require.Equal(t, lock.Unknown, s.renew(ref, 0).is(lock.NotHeld).Reason)
		s.acquire(lock.Request{Resource: "r", Owner: "c"}).is(lock.Granted)
	})
	run(t, func(t *testing.T, s *system) {
		token := s.acquire(lock.Request{Resource: "r", Owner: "a", Expire: time.Minute}).is(lock.Granted).Token
		ref := lock.Ref{Resource: "r", Owner: "a", Token: token}
		time.Sleep(time.Minute)
		require.Equal(t, lock.Expired, s.renew(ref, 0).is(lock.NotHeld).Reason)
		require.Equal(t, lock.Expired, s.release(ref).is(lock.NotHeld).Reason)
	})
}

// A renewal never shortens, and its answer tells the deadline that counts.
func TestRenewalNeverShortens(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		ref := lock.Ref{Resource: "r", Owner: "a"}
		s.acquire(lock.Request{Resource: "r", Owner: "a", Expire: time.Minute}).is(lock.Granted)
		require.Equal(t, time.Minute, s.renew(ref, time.Second).is(lock.Granted).ExpiresIn)
		s.take("r2", "a")
		require.Equal(t, lock.NoLease, s.renew(lock.Ref{Resource: "r2", Owner: "a"}, time.Second).is(lock.Granted).ExpiresIn)
	})
}

// A renewal whose answer takes longer than the lease says so, unless the lease was renewed once more meanwhile.
func TestRenewalThatRanOutBeforeItsAnswer(t *testing.T) {
	ref := lock.Ref{Resource: "r", Owner: "a"}
	start := func(s *system) *call {
		s.acquire(lock.Request{Resource: "r", Owner: "a", Expire: time.Second}).is(lock.Granted)
		s.store.hold()
		renewal := s.renew(ref, 2*time.Second)
		time.Sleep(time.Second)
		return renewal
	}
	run(t, func(t *testing.T, s *system) {
		renewal := start(s)
		time.Sleep(time.Second)
		s.store.free()
		require.Equal(t, lock.Expired, renewal.is(lock.NotHeld).Reason)
	})
	run(t, func(t *testing.T, s *system) {
		renewal := start(s)
		again := s.renew(ref, time.Minute)
		time.Sleep(time.Second)
		s.store.step()
		renewal.pending() // the longer lease is not durable yet
		s.store.free()
		require.Equal(t, 59*time.Second, renewal.is(lock.Granted).ExpiresIn)
		again.is(lock.Granted)
	})
}

// Without an id an undeliverable grant goes on at once.
func TestReleaseAgainstDisconnect(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		c := s.acquire(lock.Request{Resource: "r", Owner: "a"})
		c.is(lock.Granted)
		s.Leave(c.ticket)
		s.take("r", "b")
		s.Leave(c.ticket) // stale: does nothing
		s.show("r").is(lock.Found)
	})
	run(t, func(t *testing.T, s *system) { // released first: the disconnect must not free the successor
		c := s.acquire(lock.Request{Resource: "r", Owner: "a"})
		c.is(lock.Granted)
		next := s.acquire(lock.Request{Resource: "r", Owner: "b", Wait: time.Minute})
		s.release(lock.Ref{Resource: "r", Owner: "a"}).is(lock.Released)
		s.Leave(c.ticket)
		token := next.is(lock.Granted).Token
		require.Equal(t, token, s.show("r").is(lock.Found).Detail.Locks[0].Holders[0].Token)
	})
}

// With an id an undeliverable grant waits for the next request with that id, and then goes on.
func TestHandBackAgainstReattachment(t *testing.T) {
	req := lock.Request{Resource: "r", Owner: "a", ID: "1", Wait: time.Minute}
	setUp := func(s *system) (token int64, next *call) {
		c := s.acquire(req)
		token = c.is(lock.Granted).Token
		next = s.acquire(lock.Request{Resource: "r", Owner: "b", Wait: time.Minute})
		s.Leave(c.ticket)
		return token, next
	}
	run(t, func(t *testing.T, s *system) {
		_, next := setUp(s)
		time.Sleep(lock.PlaceKept - time.Nanosecond)
		next.pending()
		time.Sleep(time.Nanosecond)
		next.is(lock.Granted)
		s.acquire(req).is(lock.IDUsed)
	})
	run(t, func(t *testing.T, s *system) {
		token, next := setUp(s)
		time.Sleep(lock.PlaceKept - time.Nanosecond)
		require.Equal(t, token, s.acquire(req).is(lock.Granted).Token)
		time.Sleep(30 * time.Second)
		next.pending()
	})
	run(t, func(t *testing.T, s *system) { // a renewal shows, too, that the client has it
		token, next := setUp(s)
		s.renew(lock.Ref{Resource: "r", Owner: "a", Token: token}, 0).is(lock.Granted)
		time.Sleep(30 * time.Second)
		next.pending()
	})
	run(t, func(t *testing.T, s *system) { // the one who came again goes away, too
		_, next := setUp(s)
		time.Sleep(5 * time.Second)
		again := s.acquire(req)
		again.is(lock.Granted)
		s.Leave(again.ticket)
		time.Sleep(lock.PlaceKept - time.Nanosecond)
		next.pending()
		time.Sleep(time.Nanosecond)
		next.is(lock.Granted)
	})
	run(t, func(t *testing.T, s *system) { // to learn of the disconnect twice does not prolong it
		c := s.acquire(req)
		c.is(lock.Granted)
		s.Leave(c.ticket)
		time.Sleep(5 * time.Second)
		s.Leave(c.ticket)
		time.Sleep(5 * time.Second)
		s.show("r").is(lock.NotFound)
	})
	run(t, func(t *testing.T, s *system) { // the commit takes longer than the grant would have been kept
		s.store.hold()
		c := s.acquire(req)
		s.Leave(c.ticket)
		time.Sleep(lock.PlaceKept - time.Second)
		again := s.acquire(req)
		time.Sleep(10 * time.Second)
		s.store.free()
		again.is(lock.Granted)
	})
	run(t, func(t *testing.T, s *system) { // the older request learns of its disconnect late
		c := s.acquire(req)
		c.is(lock.Granted)
		s.acquire(req).is(lock.Granted)
		s.Leave(c.ticket)
		time.Sleep(time.Hour)
		s.show("r").is(lock.Found)
	})
	run(t, func(t *testing.T, s *system) { // and then the newer one does
		c := s.acquire(req)
		c.is(lock.Granted)
		again := s.acquire(req)
		again.is(lock.Granted)
		s.Leave(c.ticket)
		s.Leave(again.ticket)
		time.Sleep(lock.PlaceKept)
		s.show("r").is(lock.NotFound)
	})
}

// A lease runs on while its grant waits to be handed back.
func TestLeaseEndsBeforeTheHandBack(t *testing.T) {
	run(t, func(t *testing.T, s *system) {
		c := s.acquire(lock.Request{Resource: "r", Owner: "a", ID: "1", Expire: 3 * time.Second})
		token := c.is(lock.Granted).Token
		s.Leave(c.ticket)
		time.Sleep(3 * time.Second)
		s.take("r", "b")
		require.Equal(t, lock.Expired, s.release(lock.Ref{Resource: "r", Owner: "a", Token: token}).is(lock.NotHeld).Reason)
	})
}
