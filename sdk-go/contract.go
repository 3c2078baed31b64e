package lockserver

// The operations of the contract.
var (
	opAcquire      = operation{name: "acquire", method: "POST", path: "/acquire", answerMax: 1 << 20, queues: true}
	opRelease      = operation{name: "release", method: "POST", path: "/release", answerMax: 1 << 20}
	opRenew        = operation{name: "renew", method: "POST", path: "/renew", answerMax: 1 << 20}
	opList         = operation{name: "list", method: "GET", path: "/locks", query: true, answerMax: 16 << 20}
	opShow         = operation{name: "show", method: "GET", path: "/lock", query: true, answerMax: 16 << 20}
	opForceRelease = operation{name: "force_release", method: "DELETE", path: "/lock", query: true, answerMax: 16 << 20}
)

// verdicts holds the codes of the contract, and what an answer with one is to the retry loop.
var verdicts = map[Code]verdict{
	ErrInvalidRequest: raise, ErrTokenRequired: raise, ErrUnauthorized: raise, ErrNotFound: raise, ErrMethodNotAllowed: raise,
	ErrLocked: handle, ErrNotHeld: handle, ErrLimitMismatch: raise, ErrIDUsed: handle, ErrTooLarge: raise, ErrTooManyLocks: raise,
	ErrTooManyWaiters: raise, ErrInternal: raise, ErrDraining: retry, ErrStoreUnavailable: retry,
}

// withoutCode says what a status means that came without a code. Every other is ErrConnectionFailed, and not retried.
var withoutCode = map[int]struct {
	code   Code
	client verdict
}{
	400: {ErrInvalidRequest, raise}, 401: {ErrUnauthorized, raise}, 413: {ErrTooLarge, raise}, 431: {ErrTooLarge, raise},
	500: {ErrInternal, raise}, 502: {ErrConnectionFailed, retry}, 503: {ErrConnectionFailed, retry}, 504: {ErrConnectionFailed, retry},
}
