package lockserver

import (
	"context"
	"net/url"
)

// operation is what the server is asked to do.
type operation int

const (
	opAcquire operation = iota
	opRelease
	opRenew
	opList
	opShow
	opForceRelease
	operations
)

// call is one request.
type call struct {
	op    operation
	body  any        // of acquire, release and renew
	query url.Values // of the others
	fresh bool       // on a new connection, because an earlier attempt failed and the pool may hold more that are dead
}

// transport carries a call to the server and its answer back into out. It neither retries nor bounds: ctx does. Every failure is an
// *Error or wraps one.
type transport interface {
	do(ctx context.Context, c call, out any) (answer, error)
	// close ends idle connections, and every connection made from now on after its one request.
	close()
}

// answer tells which kind of success it was.
type answer int

const (
	answered answer = iota
	queued          // the acquisition waits on; its place is kept for a while
)
