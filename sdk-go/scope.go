package lockserver

import (
	"context"
	"errors"
	"fmt"
)

// WithLock waits for the lock as [Client.Acquire] does, runs body while it is held and renewed, and releases it, whether body returns,
// panics, or its context ends. The lease is 30 s, or as [Expire] says, and renewed at a third of it: if this process dies, the lock is
// free after one lease.
//
// The context that body gets is cancelled when the lock is lost, with a context.Cause that is ErrLockLost, and after body has returned;
// [FromContext] returns the lock from it. WithLock returns the error of body. If body returned nil although the lock was lost on the
// way, it returns ErrLockLost; if body only returned that its context ended because of that, both. A server that could not be reached
// for the release alone is no error: the lease then ends by itself.
func (c *Client) WithLock(ctx context.Context, resource string, body func(ctx context.Context) error, opts ...AcquireOption) (err error) {
	a := c.newAcquisition(opts)
	a.options.renew = true
	lock, err := a.acquire(ctx, resource)
	if err != nil {
		return err
	}

	scope, cancel := context.WithCancelCause(context.WithValue(ctx, lockKey{}, lock))
	lock.notifyLoss(func(loss error) { cancel(loss) })
	returned := false
	defer func() {
		loss := lock.Err()
		cancel(nil)
		got, unreachable := lock.release(ctx)
		if unreachable == nil {
			// The server's word counts for more than ours.
			loss = nil
			if !got.held {
				loss = lock.Err()
			}
		}
		if returned {
			err = leave(err, loss, context.Cause(scope))
		}
	}()
	err = body(scope)
	returned = true
	return err
}

// leave decides what WithLock returns.
func leave(err, loss, ended error) error {
	switch {
	case err == nil:
		return loss
	case errors.Is(ended, ErrLockLost) && errors.Is(err, context.Canceled) && !errors.Is(err, ErrLockLost):
		return fmt.Errorf("%w: %w", ended, err)
	}
	return err
}

type lockKey struct{}

// FromContext returns the lock of the innermost [Client.WithLock] that ctx comes from, or nil.
func FromContext(ctx context.Context) *Lock {
	lock, _ := ctx.Value(lockKey{}).(*Lock)
	return lock
}
