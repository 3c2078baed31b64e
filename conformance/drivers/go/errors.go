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
	{"ErrInternal", lockserver.ErrInternal},
	{"ErrDraining", lockserver.ErrDraining},
	{"ErrStoreUnavailable", lockserver.ErrStoreUnavailable},
	{"ErrLockTimeout", lockserver.ErrLockTimeout},
	{"ErrLockLost", lockserver.ErrLockLost},
	{"ErrConnectionFailed", lockserver.ErrConnectionFailed},
	{"ErrConfigInvalid", lockserver.ErrConfigInvalid},
}

func codeOf(err error) string {
	var e *lockserver.Error
	if errors.As(err, &e) {
		return string(e.Code)
	}
	return ""
}

// describe says what errors.Is and errors.As find in an error of a call whose own context was ctx.
func describe(err error, ctx context.Context) *failure {
	f := &failure{Message: err.Error()}
	var body BodyError
	var panic panicked
	switch {
	case errors.As(err, &body):
		f.Class, f.Body = "BodyError", true
		return f
	case errors.As(err, &panic):
		f.Class, f.Body = "panic", panic.value == bodyPanic
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
	var locked *lockserver.LockedError
	var timeout *lockserver.LockTimeoutError
	var holders []lockserver.Holder
	if errors.As(err, &locked) {
		holders = locked.Holders
	} else if errors.As(err, &timeout) {
		holders = timeout.Holders
	}
	for _, h := range holders {
		f.Holders = append(f.Holders, h.Owner)
	}
	return f
}
