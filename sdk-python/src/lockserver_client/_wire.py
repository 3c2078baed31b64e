"""The words on the wire: what is asked, and what an answer means."""

from __future__ import annotations

import json
import math
import os
import secrets
import socket
import ssl
import time
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, TypeGuard

from ._clock import safety_margin
from ._errors import (
    WIRE_CODES,
    ConfigInvalidError,
    ConnectionFailedError,
    InvalidRequestError,
    LockserverError,
    from_problem,
)
from ._settings import Settings
from ._version import __version__

DEFAULT_LEASE = 30.0
"""Seconds: the lease of a scope, and of an acquisition that renews itself, where `expire` says nothing else."""

LARGEST_ANSWER = 1 << 20
"""Bytes, its head included: more than any answer of a lock server."""

_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
_BY_STATUS = {
    400: "invalid_request",
    401: "unauthorized",
    404: "not_found",
    405: "method_not_allowed",
    409: "locked",
    413: "too_large",
    500: "internal",
}


class Answer(NamedTuple):
    """An HTTP answer, read to its end."""

    status: int
    retry_after: str | None
    body: bytes


class TransportError(Exception):
    """No answer came.

    `sent` tells whether the server may have the request all the same; `hopeless`, that another try cannot do better.
    """

    def __init__(self, message: str, *, sent: bool, hopeless: bool = False) -> None:
        super().__init__(message)
        self.sent = sent
        self.hopeless = hopeless


def explain(error: Exception) -> str:
    """What went wrong on the network, in the same words for both flavours."""
    own_words = isinstance(error, (socket.gaierror, ssl.SSLError))
    if isinstance(error, OSError) and error.errno is not None and not own_words:
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


def too_large() -> str:
    return f"the answer is larger than {LARGEST_ANSWER} bytes"


def hopeless(error: Exception) -> bool:
    """Whether no other try can do better."""
    return isinstance(error, ssl.SSLCertVerificationError)


@dataclass(frozen=True, slots=True)
class Request:
    """What an acquisition asks for, checked."""

    resource: str
    blocking: bool
    timeout: float | None
    expire: float | None
    renew: bool
    mode: str | None
    limit: int | None
    note: str | None

    @classmethod
    def build(
        cls,
        resource: str,
        blocking: bool,
        expire: float | None,
        *,
        timeout: float | None,
        renew: bool,
        mode: str | None,
        limit: int | None,
        note: str | None,
    ) -> Request:
        _text("resource", resource)
        if note is not None:
            _text("note", note)
        expire = lease(expire)
        timeout = _seconds("timeout", timeout)
        if timeout is not None and timeout < 0:
            raise _invalid("timeout", timeout, "a number of seconds from 0 up is needed, or None")
        if timeout is not None and not blocking:
            raise ConfigInvalidError("timeout: a call with blocking=False does not wait, so it takes no timeout")
        if renew and expire is None:
            expire = DEFAULT_LEASE
        return cls(resource, bool(blocking), timeout, expire, bool(renew), mode, limit, note)

    def scoped(self) -> Request:
        """The same as a scope asks it: with a lease that renews itself."""
        return replace(self, renew=True, expire=DEFAULT_LEASE if self.expire is None else self.expire)

    def body(self, owner: str, ident: str, wait: float) -> bytes:
        asked = {
            "resource": self.resource,
            "owner": owner,
            "id": ident,
            "wait": wait,
            "expire": self.expire,
            "mode": self.mode,
            "limit": self.limit,
            "note": self.note,
        }
        return encode({name: value for name, value in asked.items() if value is not None})


def encode(body: dict[str, Any]) -> bytes:
    try:
        return _encode(body).encode()
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"an argument cannot be sent: {error}") from None


def new_id() -> str:
    return secrets.token_hex(16)


def lease(expire: float | None) -> float | None:
    """The length of a lease that can be relied on for a time at all, or None; anything else is an error."""
    expire = _seconds("expire", expire)
    if expire is not None and expire - safety_margin(expire) <= 0:
        allowed = "more seconds than the 1 % and 2 ms that are taken off for safety (0.00203) are needed, or None"
        raise _invalid("expire", expire, allowed)
    return expire


def _seconds(name: str, value: float | None) -> float | None:
    """A finite number of seconds, or None; anything else is an error that names the argument."""
    if value is None:
        return None
    if not _number(value):
        raise _invalid(name, value, "a number of seconds is needed, or None")
    return value


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond every float
        return False


def _text(name: str, value: object) -> None:
    if not isinstance(value, str):
        raise _invalid(name, value, "a string is needed")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _invalid(name, value, "text that UTF-8 can express is needed (no lone surrogates)") from None


def _invalid(name: str, value: object, allowed: str) -> InvalidRequestError:
    error = InvalidRequestError(f"{name}: {allowed}, not {value!r}")
    error.field = name
    return error


@dataclass(frozen=True, slots=True)
class Grant:
    """What a 200 of acquire or renew says. Members that this version does not know are left aside."""

    token: int
    expires_in: float | None
    waited: float
    mode: str | None
    limit: int | None

    @classmethod
    def read(cls, data: dict[str, Any]) -> Grant | None:
        """The grant in an answer; None where no lock server can have said that."""
        token, expires_in, waited = data.get("token"), data.get("expires_in"), data.get("waited") or 0
        if not (_number(token) and (expires_in is None or _number(expires_in)) and _number(waited)):
            return None
        mode, limit = data.get("mode"), data.get("limit")
        return cls(
            int(token),
            None if expires_in is None else float(expires_in),
            max(float(waited), 0.0),
            mode if isinstance(mode, str) else None,
            int(limit) if _number(limit) else None,
        )


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer that was understood."""

    error: LockserverError | None
    """Why what was asked is not done; None where it is, or where the request is queued."""
    grant: Grant | None = None
    """What an acquisition or renewal was granted; None also where it is queued."""
    retry_after: float = 0.0

    @classmethod
    def read(cls, path: str, answer: Answer, secret: str) -> Reply:
        """Understand an answer; no error that comes of it shows the secret, even if the other side echoes it."""
        try:
            data = json.loads(answer.body)
        except (ValueError, RecursionError):
            data = None
        said = data if isinstance(data, dict) else {}
        grant = Grant.read(said) if answer.status == 200 and path != "/release" else None
        done = answer.status == 200 and path == "/release" and said is data
        queued = answer.status == 202 and path == "/acquire" and said is data
        if grant is not None or done or queued:
            return cls(None, grant)
        return cls(_refusal(answer, said, secret), None, _delay(answer.retry_after))


def _number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and _finite(value)


def _refusal(answer: Answer, problem: dict[str, Any], secret: str) -> LockserverError:
    status, code = answer.status, problem.get("code")
    if isinstance(code, str) and code:
        problem = {name: _without(secret, value) for name, value in problem.items()}
        message = problem.get("detail") or problem.get("title") or f"the server answered {status}"
        return from_problem(code if code in WIRE_CODES else problem["code"], str(message), status, problem)
    said = " ".join(answer.body.decode("utf-8", "replace").replace(secret, "…").split())[:200]
    message = f"status {status} without a lock server's answer in it" + (f": {said}" if said else "")
    if status in _BY_STATUS:
        return from_problem(_BY_STATUS[status], message, status, problem)
    return ConnectionFailedError(message, status=status)


def _without(secret: str, value: Any) -> Any:
    return value.replace(secret, "…") if isinstance(value, str) else value


def _delay(retry_after: str | None) -> float:
    """Seconds, from seconds or a date; 0 for what is neither."""
    if not retry_after:
        return 0.0
    try:
        delay = float(retry_after)
    except ValueError:
        try:
            delay = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return delay if 0 < delay < math.inf else 0.0


class RequestHeads:
    """The heads of the requests, which differ in nothing but path and length."""

    __slots__ = ("_heads",)

    def __init__(self, settings: Settings) -> None:
        address = settings.address
        self._heads = {
            path: (
                f"POST {address.prefix}{path} HTTP/1.1\r\n"
                f"Host: {address.authority}\r\n"
                f"User-Agent: lockserver-client-python/{__version__}\r\n"
                f"X-LOCKSERVER-SECRET: {settings.secret}\r\n"
                "Content-Type: application/json\r\n"
                "Content-Length: "
            ).encode("latin-1")
            for path in ("/acquire", "/release", "/renew")
        }

    def request(self, path: str, body: bytes) -> bytes:
        """Head and body in one piece, so that they leave in one packet."""
        return b"%b%d\r\n\r\n%b" % (self._heads[path], len(body), body)
