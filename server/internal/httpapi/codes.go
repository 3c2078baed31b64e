package httpapi

import "net/http"

// code is the stable name of what went wrong: clients decide by it. Its status and Retry-After follow from it.
type code string

const (
	codeInvalidRequest   code = "invalid_request"
	codeTokenRequired    code = "token_required"
	codeUnauthorized     code = "unauthorized"
	codeNotFound         code = "not_found"
	codeMethodNotAllowed code = "method_not_allowed"
	codeLocked           code = "locked"
	codeNotHeld          code = "not_held"
	codeLimitMismatch    code = "limit_mismatch"
	codeIDUsed           code = "id_used"
	codeTooLarge         code = "too_large"
	codeTooManyLocks     code = "too_many_locks"
	codeTooManyWaiters   code = "too_many_waiters"
	codeInternal         code = "internal"
	codeDraining         code = "draining"
	codeStoreUnavailable code = "store_unavailable"
)

// row is the one table of codes.
func (c code) row() (status int, retryAfter bool) {
	switch c {
	case codeInvalidRequest, codeTokenRequired:
		return http.StatusBadRequest, false
	case codeUnauthorized:
		return http.StatusUnauthorized, false
	case codeNotFound:
		return http.StatusNotFound, false
	case codeMethodNotAllowed:
		return http.StatusMethodNotAllowed, false
	case codeLocked, codeNotHeld, codeLimitMismatch, codeIDUsed:
		return http.StatusConflict, false
	case codeTooLarge:
		return http.StatusRequestEntityTooLarge, false
	case codeTooManyLocks, codeTooManyWaiters:
		return http.StatusTooManyRequests, true
	case codeDraining, codeStoreUnavailable:
		return http.StatusServiceUnavailable, true
	}
	return http.StatusInternalServerError, false
}
