package lockserver

import (
	"strconv"
	"strings"
	"time"
)

// Code says what went wrong, in a word that is the same on the wire and in every SDK. A Code is an error itself, so that
// errors.Is(err, lockserver.ErrLocked) asks for it.
type Code string

// The one table of codes. The name of a constant derives from its value: ErrTokenRequired is token_required.
const (
	// The server refused the request as it is; [Error.Field] names the field.
	ErrInvalidRequest Code = "invalid_request"
	// The owner holds several grants of the resource: release the one that is meant.
	ErrTokenRequired Code = "token_required"
	// The secret is missing or wrong.
	ErrUnauthorized Code = "unauthorized"
	// The resource is free: there is nothing to show.
	ErrNotFound Code = "not_found"
	// The server knows the path and not the method: what answers is not the server that this SDK was made for.
	ErrMethodNotAllowed Code = "method_not_allowed"
	// The resource is held by somebody else; the error is a [*LockedError].
	ErrLocked Code = "locked"
	// The lock is not held (any more); [Error.Reason] says why.
	ErrNotHeld Code = "not_held"
	// The resource is held or awaited as another kind of lock (readers and writer, or a semaphore of another limit).
	ErrLimitMismatch Code = "limit_mismatch"
	// The acquisition's id has ended. The SDK takes a new one by itself, so that callers do not meet this code.
	ErrIDUsed Code = "id_used"
	// The request is too long.
	ErrTooLarge Code = "too_large"
	// The server holds as many locks as it may.
	ErrTooManyLocks Code = "too_many_locks"
	// The server has as many waiters as it may.
	ErrTooManyWaiters Code = "too_many_waiters"
	// Too many wrong secrets came from this address within a minute; this one was wrong, too, or was not looked at.
	ErrTooManyWrongSecrets Code = "too_many_wrong_secrets"
	// The server failed.
	ErrInternal Code = "internal"
	// The server is shutting down. Retried by the SDK.
	ErrDraining Code = "draining"
	// No server of the cluster leads at the moment, or the one that does cannot be reached; nothing was done. Retried by the SDK.
	ErrNoLeader Code = "no_leader"
	// The server could not make the change durable; whether it happened is unknown. Retried by the SDK.
	ErrStoreUnavailable Code = "store_unavailable"
	// The server has no room to store a grant or a longer lease; nothing was done, and releases go on. Retried by the SDK.
	ErrStorageFull Code = "storage_full"

	// The context's deadline passed before the lock was free, or before there was an answer: of an acquisition a [*LockTimeoutError]. The
	// error satisfies errors.Is(err, context.DeadlineExceeded) too.
	ErrLockTimeout Code = "lock_timeout"
	// The lock was lost while it was held; the error is a [*LockLostError].
	ErrLockLost Code = "lock_lost"
	// The server could not be reached, gave no answer in time, or is no Lockserver.
	ErrConnectionFailed Code = "connection_failed"
	// A setting is missing or wrong; [Error.Field] names it.
	ErrConfigInvalid Code = "config_invalid"
)

// Error returns the code behind the package's name.
func (c Code) Error() string { return "lockserver: " + string(c) }

// Why a lock is not held, in [Error.Reason] and [LockLostError.Reason].
const (
	ReasonExpired     = "expired"      // the lease ran out
	ReasonEvicted     = "evicted"      // an operator released it by force
	ReasonOtherHolder = "other_holder" // somebody else holds it
	ReasonUnknown     = "unknown"      // the server knows nothing of it
	ReasonReleased    = "released"     // this program released it before
	ReasonClosed      = "closed"       // the client was closed, which ended the renewal
)

// Error is what every failure of this package can be taken for with errors.As.
type Error struct {
	Code       Code
	Message    string        // for people
	Resource   string        // "" if the failure is not about one
	Field      string        // the request field or the setting that is wrong, "" if none
	Reason     string        // with ErrNotHeld and ErrLockLost, one of the Reason constants
	Status     int           // of the HTTP answer; 0 if the failure is a local one
	RetryAfter time.Duration // how long the server asks to leave it alone, 0 if it did not

	cause   error
	short   string // what happened, in a few words
	verdict verdict
	refused bool // the server said that it did not do it
}

// hide takes the secret out of what the other side said, as a stranger may give back what it was sent.
func (e *Error) hide(secret string) {
	if secret == "" {
		return
	}
	code := string(e.Code)
	for _, text := range []*string{&e.Message, &e.Field, &e.Reason, &e.short, &code} {
		*text = strings.ReplaceAll(*text, secret, "…")
	}
	e.Code = Code(code)
}

// Error describes the failure in one line. It never holds the secret.
func (e *Error) Error() string {
	text := e.Code.Error()
	if name := strconv.Quote(e.Resource); e.Resource != "" && !strings.Contains(e.Message, name) {
		text += " " + name
	}
	if e.Message != "" {
		text += ": " + e.Message
	}
	return text
}

// Is makes errors.Is find the code.
func (e *Error) Is(target error) bool { return target == error(e.Code) }

// Unwrap returns what lies behind the failure, such as the context's error or the network's.
func (e *Error) Unwrap() error { return e.cause }

// tellsLoss tells whether a not_held says that the lock was lost; the other reasons leave open that a release ended it, as the server may
// have forgotten that.
func (e *Error) tellsLoss() bool {
	return e.Reason != "" && e.Reason != ReasonUnknown && e.Reason != ReasonOtherHolder
}

// LockedError says by whom the resource is held.
type LockedError struct {
	Holders      []Holder // at most 10
	HoldersTotal int
	Waiters      int

	err *Error
}

// Error describes the refusal in one line.
func (e *LockedError) Error() string { return e.failure().Error() }

// Unwrap returns the [*Error] with the code ErrLocked.
func (e *LockedError) Unwrap() error { return e.failure() }

// failure is there too if a program made the error itself, as a test with a stand-in for the client does.
func (e *LockedError) failure() *Error {
	if e.err == nil {
		return &Error{Code: ErrLocked}
	}
	return e.err
}

// LockTimeoutError says who held the resource when the time to wait for it was over, as far as that was heard.
type LockTimeoutError struct {
	Holders      []Holder // at most 10
	HoldersTotal int
	Waiters      int

	err *Error
}

// Error says what stood in the way last.
func (e *LockTimeoutError) Error() string { return e.failure().Error() }

// Unwrap returns the [*Error] with the code ErrLockTimeout.
func (e *LockTimeoutError) Unwrap() error { return e.failure() }

// failure is there too if a program made the error itself.
func (e *LockTimeoutError) failure() *Error {
	if e.err == nil {
		return &Error{Code: ErrLockTimeout}
	}
	return e.err
}

// LockLostError says which lock was lost and why.
type LockLostError struct {
	Resource string
	Token    int64
	Reason   string // one of the Reason constants

	err *Error
}

func newLockLost(resource string, token int64, reason, message string) *LockLostError {
	return &LockLostError{
		Resource: resource, Token: token, Reason: reason,
		err: &Error{Code: ErrLockLost, Message: message, Resource: resource, Reason: reason},
	}
}

// Error describes the loss in one line.
func (e *LockLostError) Error() string { return e.failure().Error() }

// Unwrap returns the [*Error] with the code ErrLockLost.
func (e *LockLostError) Unwrap() error { return e.failure() }

// failure is there too if a program made the error itself.
func (e *LockLostError) failure() *Error {
	if e.err == nil {
		return &Error{Code: ErrLockLost, Resource: e.Resource, Reason: e.Reason}
	}
	return e.err
}
