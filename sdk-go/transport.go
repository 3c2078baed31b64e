package lockserver

import (
	"context"
	"time"
)

// transport carries requests to the server and answers back. What lies behind it, HTTP or not, nothing else knows.
type transport interface {
	// send makes one attempt. It ends with ctx and the attempt's life, and at the latest with the attempt's bound or limit.
	send(ctx context.Context, a attempt) outcome
	// start begins an attempt that has no life, without waiting for its outcome. It returns nil if that is not possible: then send makes it.
	start(a attempt) begun
	// addresses is how many servers there are to be asked.
	addresses() int
	// session returns the session that there is now, or nil.
	session() any
	// close ends idle connections, and every connection made from now on after its one request. It is called before the last requests
	// and after them; what serves many requests may stay in between.
	close()
}

// begun is an attempt that was begun. Its outcome must be awaited.
type begun interface {
	// succeeds waits for the outcome as long as ctx lasts, and returns true if it is a success.
	succeeds(ctx context.Context) bool
	// await returns the outcome as send does.
	await(ctx context.Context) outcome
}

// attempt is a request that is sent once.
type attempt struct {
	op      *operation
	began   time.Time
	request any             // with the members of the request as JSON
	wait    time.Duration   // how long the server may hold the request, as far as the transport lets it
	bound   time.Duration   // for the answer, beyond that
	limit   time.Duration   // until when there must be some sign of life
	on      any             // the session that it must go over; nil: it does not matter
	life    context.Context // with which it ends too, unless it is nil
	follow  *follower       // takes an answer that goes on; nil: it is one that ends
	again   bool            // an earlier attempt failed, and with it perhaps every connection that is open
}

// ended is closed when the attempt's life ends.
func (a *attempt) ended() <-chan struct{} {
	if a.life == nil {
		return nil
	}
	return a.life.Done()
}

// bounded returns a context that ends with ctx, with the attempt's life, and after d.
func (a *attempt) bounded(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	bounded, cancel := context.WithTimeout(ctx, d)
	if a.life == nil {
		return bounded, cancel
	}
	stop := context.AfterFunc(a.life, cancel)
	return bounded, func() { stop(); cancel() }
}

// hold asks the server to hold the request for the attempt's wait, but no longer than most.
func (a *attempt) hold(most time.Duration) {
	a.wait = min(a.wait, most)
	if r, ok := a.request.(*acquireRequest); ok {
		r.Wait = a.wait.Seconds()
	}
}

// outcome is what became of an attempt: an answer, or the reason why there is none.
type outcome struct {
	answer answer

	reason    string // in a few words
	cause     error
	status    int  // of somebody on the way, such as a proxy, who refused it; 0: nobody did
	unsent    bool // the request surely never arrived; else that is unknown
	permanent bool // no retry can do better

	elsewhere bool // the next attempt is made at another server

	on    any       // the session that an answer came over; nil: none
	heard time.Time // the last sign of life of a server that had the request, other than its answer; zero: none
}

// answer is what the server said, or who speaks in its place.
type answer struct {
	status     int    // of the contract's table; 0: there is no answer
	body       []byte // one byte more than the operation allows if it is too long
	retryAfter time.Duration
	peer       string // who said it, for people, as in 127.0.0.1:8080
}
