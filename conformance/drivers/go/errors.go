package main

import (
	"context"
	"errors"

	lockserver "github.com/lockserver/lockserver/sdk-go"
)

// failure is an error as the protocol has it.
type failure struct {
	Code      *string  `json:"code"`
	Class     string   `json:"class"`
	Base      bool     `json:"base"`
	Message   string   `json:"message"`
	Is        []string `json:"is,omitempty"`
	Cancelled bool     `json:"cancelled,omitempty"`
	Body      bool     `json:"body,omitempty"`
	Holders   []string `json:"holders,omitempty"`
}

// sentinels are what errors.Is is asked for.
var sentinels = []struct {
	name string
	err  error
}{
	{"ErrInvalidRequest", lockserver.ErrInvalidRequest},
	{"ErrTokenRequired", lockserver.ErrTokenRequired},
	{"ErrUnauthorized", lockserver.ErrUnauthorized},
	{"ErrNotFound", lockserver.ErrNotFound},
	{"ErrMethodNotAllowed", lockserver.ErrMethodNotAllowed},
	{"ErrLocked", lockserver.ErrLocked},
	{"ErrNotHeld", lockserver.ErrNotHeld},
	{"ErrLimitMismatch", lockserver.ErrLimitMismatch},
	{"ErrIDUsed", lockserver.ErrIDUsed},
	{"ErrTooLarge", lockserver.ErrTooLarge},
	{"ErrTooManyLocks", lockserver.ErrTooManyLocks},
	{"ErrTooManyWaiters", lockserver.ErrTooManyWaiters},
	{"ErrTooManyWrongSecrets", lockserver.ErrTooManyWrongSecrets},
	{"ErrInternal", lockserver.ErrInternal},
	{"ErrDraining", lockserver.ErrDraining},
	{"ErrNoLeader", lockserver.ErrNoLeader},
	{"ErrStoreUnavailable", lockserver.ErrStoreUnavailable},
	{"ErrStorageFull", lockserver.ErrStorageFull},
	{"ErrLockTimeout", lockserver.ErrLockTimeout},
	{"ErrLockLost", lockserver.ErrLockLost},
	{"ErrConnectionFailed", lockserver.ErrConnectionFailed},
	{"ErrConfigInvalid", lockserver.ErrConfigInvalid},
}

func codeOf(err error) string {
	if e, ok := errors.AsType[*lockserver.Error](err); ok {
		return string(e.Code)
	}
	return ""
}

// describe says what errors.Is and errors.As find in an error of a call whose own context was ctx.
func describe(ctx context.Context, err error) *failure {
	f := &failure{Message: err.Error()}
	var body BodyError
	var panicking panicked
	switch {
	case errors.As(err, &body):
		f.Class, f.Body = "BodyError", true
		return f
	case errors.As(err, &panicking):
		f.Class, f.Body = "panic", panicking.value == bodyPanic
		return f
	}
	var e *lockserver.Error
	f.Base = errors.As(err, &e)
	if f.Base {
		code := string(e.Code)
		f.Code = &code
	}
	for _, s := range sentinels {
		if errors.Is(err, s.err) && (f.Class == "" || errors.Is(e.Code, s.err)) {
			f.Class = s.name
		}
	}
	if f.Class == "" {
		f.Class = "error"
	}
	for name, kind := range map[string]error{"context.Canceled": context.Canceled, "context.DeadlineExceeded": context.DeadlineExceeded} {
		if errors.Is(err, kind) {
			f.Is = append(f.Is, name)
		}
	}
	f.Cancelled = ctx.Err() != nil && errors.Is(err, context.Canceled)
	var holders []lockserver.Holder
	if locked, ok := errors.AsType[*lockserver.LockedError](err); ok {
		holders = locked.Holders
	} else if timeout, ok := errors.AsType[*lockserver.LockTimeoutError](err); ok {
		holders = timeout.Holders
	}
	for _, h := range holders {
		f.Holders = append(f.Holders, h.Owner)
	}
	return f
}
