package main

import (
	"context"
	"errors"
	"fmt"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// BodyError is the error of a body that was told to fail.
type BodyError struct{}

func (BodyError) Error() string { return "the body was told to fail" }

const bodyPanic = "the body was told to panic"

func (d *driver) runScope(ctx context.Context, c *client, r request) (ok object, err error) {
	d.mu.Lock()
	s := d.scopes[r.Lock]
	d.mu.Unlock()
	defer func() {
		if p := recover(); p != nil {
			err = panicked{p}
		}
	}()
	opts := options(r)
	if r.Blocking != nil && !*r.Blocking {
		opts = append(opts, lockserver.NonBlocking())
	}
	err = c.WithLock(ctx, r.Resource, func(ctx context.Context) error { return d.body(ctx, s, r) }, opts...)
	if err != nil {
		return nil, err
	}
	return object{"ended": true}, nil
}

func (d *driver) body(ctx context.Context, s *scope, r request) error {
	lock := lockserver.FromContext(ctx)
	if lock == nil {
		return faultError("the body's context has no lock")
	}
	d.keep(r.Lock, lock)
	d.out.write(message{ID: r.ID, Event: "entered", Token: lock.Token()})
	var how string
	select {
	case how = <-s.leave:
	case <-ctx.Done():
		if cause := context.Cause(ctx); errors.Is(cause, lockserver.ErrLockLost) {
			d.out.write(message{ID: r.ID, Event: "told", Code: codeOf(cause)})
		}
		how = <-s.leave
	}
	switch how {
	case "raise":
		return BodyError{}
	case "panic":
		panic(bodyPanic)
	}
	return ctx.Err() // a body that knows nothing of locks lets its cancellation out
}

// panicked carries a panic that came out of a scope.
type panicked struct{ value any }

func (p panicked) Error() string { return fmt.Sprint("panic: ", p.value) }
