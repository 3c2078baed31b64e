"""The tables of the contract."""

from __future__ import annotations

from typing import NamedTuple


class Operation(NamedTuple):
    """One kind of request."""

    name: str
    method: str
    path: str
    answers: tuple[int, ...]
    """The statuses of a success."""
    answer_max: int
    """Bytes: no answer is larger."""


ACQUIRE = Operation("acquire", "POST", "/acquire", (200, 202), 1048576)
RELEASE = Operation("release", "POST", "/release", (200,), 1048576)
RENEW = Operation("renew", "POST", "/renew", (200,), 1048576)

CODES = {
    "invalid_request": ("raise", "InvalidRequestError"),
    "token_required": ("raise", "TokenRequiredError"),
    "unauthorized": ("raise", "UnauthorizedError"),
    "not_found": ("raise", "NotFoundError"),
    "method_not_allowed": ("raise", "MethodNotAllowedError"),
    "locked": ("handle", "LockedError"),
    "not_held": ("handle", "NotHeldError"),
    "limit_mismatch": ("raise", "LimitMismatchError"),
    "id_used": ("handle", "IdUsedError"),
    "too_large": ("raise", "TooLargeError"),
    "too_many_locks": ("raise", "TooManyLocksError"),
    "too_many_waiters": ("raise", "TooManyWaitersError"),
    "internal": ("raise", "InternalError"),
    "draining": ("retry", "DrainingError"),
    "store_unavailable": ("retry", "StoreUnavailableError"),
}
"""The server's codes: what a client does about each, and the class of its error."""

WITHOUT_CODE = {
    400: ("invalid_request", "raise"),
    401: ("unauthorized", "raise"),
    413: ("too_large", "raise"),
    431: ("too_large", "raise"),
    500: ("internal", "raise"),
    502: ("connection_failed", "retry"),
    503: ("connection_failed", "retry"),
    504: ("connection_failed", "retry"),
}
"""What an answer without a code means by its status."""

WITHOUT_CODE_ELSE = ("connection_failed", "raise")

# Seconds, unless the name says otherwise.
CONNECT = 5
HOP = 10
ANSWER = 10
CLEANUP = 5
SILENCE = 30
SILENCE_QUEUED = 60
BACKOFF_FIRST = 0.05
BACKOFF_FACTOR = 2
BACKOFF_MOST = 2
BACKOFF_JITTER = 0.5
SCOPE_LEASE = 30
RENEW_PART = 3
RENEW_ATTEMPT = 10
MARGIN_PART = 0.01
MARGIN = 0.002
