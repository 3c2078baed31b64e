"""Every error that this package raises.

::

    LockserverError                       code
    ├── LockTimeoutError                  lock_timeout        .holders; also a TimeoutError
    ├── LockLostError                     lock_lost
    ├── ConnectionFailedError             connection_failed   also a ConnectionError
    ├── ConfigInvalidError                config_invalid      also a ValueError
    ├── LockedError                       locked
    ├── NotHeldError                      not_held
    ├── LimitMismatchError                limit_mismatch
    ├── IdUsedError                       id_used
    ├── InvalidRequestError               invalid_request     also a ValueError
    ├── TokenRequiredError                token_required
    ├── UnauthorizedError                 unauthorized
    ├── NotFoundError                     not_found
    ├── MethodNotAllowedError             method_not_allowed
    ├── TooLargeError                     too_large
    ├── TooManyLocksError                 too_many_locks
    ├── TooManyWaitersError               too_many_waiters
    ├── TooManyWrongSecretsError          too_many_wrong_secrets
    ├── InternalError                     internal
    ├── DrainingError                     draining
    ├── NoLeaderError                     no_leader
    ├── StoreUnavailableError             store_unavailable
    └── StorageFullError                  storage_full

The first four arise in this process, the others are the server's own words. A class is named after its code.
A code that this version does not know comes as a plain `LockserverError` that carries it.
No error holds the secret.
"""

from __future__ import annotations

from typing import NamedTuple


class Holder(NamedTuple):
    """One who holds a lock, as the server tells it to those who are refused."""

    owner: str
    token: int
    expires_in: float | None
    """Seconds left of the lease; None for a lock that is held until released."""
    held_for: float | None = None
    """Seconds since its grant; None where the server does not say."""


class LockserverError(Exception):
    """The base of every error of this package.

    `code` is the stable name of what happened, the same in every language; `status` is the HTTP status where a
    server answered, else None.
    """

    code: str = "unknown"

    def __init__(self, message: str, *, code: str | None = None, status: int | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.status = status
        if code is not None:
            self.code = code

    def __str__(self) -> str:
        return self.message


class _InTheWay(LockserverError):
    holders: tuple[Holder, ...] = ()
    """At most ten of those who hold it, as far as is known."""
    holders_total: int = 0
    """How many hold it."""
    waiters: int = 0
    """How many wait for it."""


class LockTimeoutError(_InTheWay, TimeoutError):
    """`timeout` passed before the lock was free. Nothing is held and nothing is queued any more.

    Its message says what stood in the way last; `holders` are those that are known last.
    """

    code = "lock_timeout"


class LockLostError(LockserverError):
    """The lease ended, or can no longer be trusted, while it was still needed. Another may be the holder by now."""

    code = "lock_lost"


class ConnectionFailedError(LockserverError, ConnectionError):
    """No answer from the server within the bounds, or an answer that is not a lock server's."""

    code = "connection_failed"


class ConfigInvalidError(LockserverError, ValueError):
    """A setting, or a combination of arguments, that cannot work. Raised before anything is sent."""

    code = "config_invalid"


class LockedError(_InTheWay):
    """Others hold the resource, and the call was not to wait."""

    code = "locked"


class NotHeldError(LockserverError):
    """What was to be released or renewed is not held by this owner (any more)."""

    code = "not_held"
    reason: str = "unknown"
    """`expired`, `evicted`, `other_holder` or `unknown`; `released` where this process did it before."""

    @property
    def _tells_loss(self) -> bool:
        """Whether it says that the lock was lost; the other reasons leave open that a forgotten release ended it."""
        return self.reason not in ("unknown", "other_holder")


class InvalidRequestError(LockserverError, ValueError):
    """An argument that is not allowed."""

    code = "invalid_request"
    field: str | None = None
    """Its name, where it is known."""
