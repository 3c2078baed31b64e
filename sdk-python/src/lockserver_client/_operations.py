"""What is asked of the server, and what its answers mean: the only place that knows the wire's members."""

from __future__ import annotations

import json
import math
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from email.utils import parsedate_to_datetime
from typing import Any, NamedTuple, NoReturn, TypeGuard

from ._clock import Instant
from ._contract import (
    ACQUIRE,
    CODES,
    RELEASE,
    SCOPE_LEASE,
    WITHOUT_CODE,
    WITHOUT_CODE_ELSE,
    DrainingError,
    Operation,
)
from ._errors import (
    ConfigInvalidError,
    ConnectionFailedError,
    Holder,
    InvalidRequestError,
    LockedError,
    LockserverError,
    LockTimeoutError,
    NotHeldError,
)
from ._lease import safety_margin
from ._outcome import Answer, Outcome

Seconds = float | timedelta
"""A duration as callers give it."""


def _not_json(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is not JSON")


_NEVER = Instant(0.0, 0.0)
_LARGEST = sys.float_info.max
_NUMBERS = (int, float)
_quoted = json.encoder.encode_basestring_ascii
_encode = json.JSONEncoder(separators=(",", ":"), allow_nan=False).encode
decode = json.JSONDecoder(parse_constant=_not_json).decode


@dataclass(slots=True)
class Request:
    """What an acquisition asks for, checked."""

    resource: str
    blocking: bool
    expire: Seconds | None
    timeout: Seconds | None
    renew: bool
    mode: str | None
    limit: int | None
    note: str | None
    length: float | None = field(init=False)
    """Of the lease, in seconds."""
    most: float | None = field(init=False)
    """Seconds to wait."""

    def __post_init__(self) -> None:
        text("resource", self.resource)
        if self.note is not None:
            text("note", self.note)
        self.length, self.most = lease(self.expire), _limit(self.timeout)
        if self.most is not None and not self.blocking:
            raise ConfigInvalidError("timeout: a call with blocking=False does not wait, so it takes no timeout")
        if self.limit is not None and not _number(self.limit):
            raise _invalid("limit", self.limit, "a number is needed, or None")
        if self.renew and self.length is None:
            self.length = SCOPE_LEASE

    def body(self, owner: str, ident: str, wait: float) -> bytes:
        said = f'{_names(self.resource, owner)},"id":{_quoted(ident)},"wait":{_figure(wait)}'
        if self.length is not None:
            said += f',"expire":{_figure(self.length)}'
        if self.mode is not None or self.limit is not None or self.note is not None:
            said += "," + _members({"mode": self.mode, "limit": self.limit, "note": self.note})
        return f"{{{said}}}".encode()


def named(
    resource: str, owner: str, *, ident: str | None = None, token: int | None = None, expire: float | None = None
) -> bytes:
    """The body of a release or renewal that names an acquisition, a grant, or no more than an owner."""
    said = _names(resource, owner)
    if ident is not None:
        said += f',"id":{_quoted(ident)}'
    if token is not None:
        said += f',"token":{_figure(token)}'
    if expire is not None:
        said += f',"expire":{_figure(expire)}'
    return f"{{{said}}}".encode()


# What nearly every request has is put together by hand, which costs a fraction of an encoder.


def _names(resource: str, owner: str) -> str:
    return f'"resource":{_quoted(resource)},"owner":{_quoted(owner)}'


def _figure(value: float) -> str:
    """A finite number in JSON, of whichever kind of float or integer it is."""
    return float.__repr__(value) if isinstance(value, float) else int.__repr__(value)


def _members(given: dict[str, Any]) -> str:
    try:
        return _encode({name: value for name, value in given.items() if value is not None})[1:-1]
    except (TypeError, ValueError) as error:
        raise InvalidRequestError(f"an argument cannot be sent: {error}") from None


def new_id() -> str:
    return os.urandom(16).hex()


def lease(expire: Seconds | None) -> float | None:
    """The length of a lease that can be relied on for a time at all, or None; anything else is an error."""
    length = expire.total_seconds() if isinstance(expire, timedelta) else expire
    if length is not None and not _number(length):
        raise _invalid("expire", expire, "a number of seconds or a timedelta is needed, or None")
    if length is not None and length - safety_margin(length) <= 0:
        allowed = "more seconds than the 1 % and 2 ms that are taken off for safety (0.00203) are needed, or None"
        raise _invalid("expire", expire, allowed)
    return length


def _limit(timeout: Seconds | None) -> float | None:
    """How many seconds a caller waits at most, or None; anything else is an error, though none about the request."""
    seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
    if seconds is not None and not (_number(seconds) and seconds >= 0):
        allowed = "a number of seconds or a timedelta from 0 up is needed, or None"
        raise ConfigInvalidError(_not_allowed("timeout", timeout, allowed))
    return seconds


def text(name: str, value: object) -> None:
    """Refuse what is no text, or none that can be sent."""
    if not isinstance(value, str):
        raise _invalid(name, value, "a string is needed")
    if value.isascii():
        return
    try:
        value.encode()
    except UnicodeEncodeError:
        raise _invalid(name, value, "text that UTF-8 can express is needed (no lone surrogates)") from None


def _invalid(name: str, value: object, allowed: str) -> InvalidRequestError:
    error = InvalidRequestError(_not_allowed(name, value, allowed))
    error.field = name
    return error


def _not_allowed(name: str, value: object, allowed: str) -> str:
    kind = "" if isinstance(value, (int, float)) and not isinstance(value, bool) else f"{type(value).__name__} "
    return f"{name}: {allowed}, not {kind}{value!r}"


class InTheWay(NamedTuple):
    """Who holds a resource, as the server tells it to those who are refused or wait."""

    holders: tuple[Holder, ...] = ()
    holders_total: int = 0
    waiters: int = 0

    @classmethod
    def read(cls, said: dict[str, Any]) -> InTheWay:
        """What is missing or of another type stays empty."""
        listed = said.get("holders")
        holders = tuple(_holder(one) for one in listed) if isinstance(listed, list) else ()
        return cls(holders, _count(said.get("holders_total")) or len(holders), _count(said.get("waiters")))

    def put_on(self, error: LockedError | LockTimeoutError) -> None:
        error.holders, error.holders_total, error.waiters = self

    def told(self, owner: str) -> str:
        """In words, to one who waited under that owner."""
        if not self.holders:
            return "others hold it, or wait for it"
        first = next((holder for holder in self.holders if holder.owner == owner), self.holders[0])
        text = f"held by {first.owner}"
        if first.held_for is not None:
            held = str(round(first.held_for, 1)).removesuffix(".0") if first.held_for < 10 else round(first.held_for)
            text += f" for {held} s"
        if first.owner == owner:
            text += ", which is this very client"
        others = max(self.holders_total, len(self.holders)) - 1
        if others > 0:
            text += f" and {others} other{'s' if others > 1 else ''}"
        return text


class Grant(NamedTuple):
    """What a 200 of acquire or renew says. Members that this version does not know are left aside."""

    token: int
    expires_in: float | None
    waited: float
    mode: str | None
    limit: int | None

    @classmethod
    def read(cls, data: dict[str, Any]) -> Grant:
        """The grant in a usable answer."""
        expires_in, mode, limit = data["expires_in"], data.get("mode"), data.get("limit")
        return cls(
            int(data["token"]),
            None if expires_in is None else float(expires_in),
            float(data["waited"]),
            mode if isinstance(mode, str) else None,
            int(limit) if _number(limit) else None,
        )


NOBODY = InTheWay()


class Reply:
    """An outcome that was understood.

    Args:
        verdict: `done`, `retry`, `raise`, or `handle`: what the contract's table says.
        error: Why what was asked is not done; None where it is, or where the request is queued.
    """

    grant: Grant | None = None
    """What an acquisition or renewal was granted; None also where it is queued."""
    in_the_way: InTheWay | None = None
    unsettled: bool = True
    """Whether the attempt may have taken effect, or has."""
    unsent: bool = False
    late: bool = False
    """Whether no more is known than that the attempt ran out of time."""
    heard: float = 0.0
    """When the server gave its last sign of life in a session, on the monotonic clock."""
    retry_after: float = 0.0
    session: object = None
    """The session that brought the answer."""
    sent: Instant = _NEVER
    """When the request was sent; not noted for a release, as no lease counts from it."""

    def __init__(self, verdict: str, error: LockserverError | None = None, *, obstacle: str = "") -> None:
        self.verdict = verdict
        self.error = error
        self.obstacle = obstacle
        """What stood in the way, in a few words."""


def understand(operation: Operation, outcome: Outcome, secret: str) -> Reply:
    """What an outcome means; no error that comes of it shows the secret, even if the other side echoes it."""
    if not isinstance(outcome, Answer):
        verdict = "raise" if outcome.permanent else "retry"
        reply = Reply(verdict, ConnectionFailedError(outcome.why), obstacle=outcome.why)
        reply.unsettled, reply.unsent, reply.heard = outcome.unknown, not outcome.unknown, outcome.heard
        reply.late = outcome.late
        return reply
    said = _object(outcome.body) if outcome.said is None else outcome.said
    status, peer = outcome.status, outcome.peer
    if outcome.goes_on:
        return Reply("done")
    if status in operation.answers:
        wrong = _unusable(operation, outcome, said)
        if said is None or wrong:
            message = f"{peer} answered {status} {wrong}: is this the address of a lockserver?"
            return Reply(WITHOUT_CODE_ELSE[0], ConnectionFailedError(message, status=status), obstacle=message)
        reply = Reply("done")
        if status == 202:
            reply.in_the_way = InTheWay.read(said)
        elif operation is not RELEASE:
            reply.grant, reply.session = Grant.read(said), outcome.session
        return reply
    code = said.get("code") if said is not None and status >= 400 else None
    if said is not None and isinstance(code, str) and code:
        reply = _refusal(status, code, {name: _without(secret, value) for name, value in said.items()})
        # A server that drains has released nothing; who waits may be granted the lock by its last moments.
        settled = 400 <= status < 500 or (isinstance(reply.error, DrainingError) and operation is not ACQUIRE)
        reply.unsettled = not settled
        reply.obstacle = f"{peer} answered {status} {reply.error.code if reply.error else code}"
    else:
        reply = _without_code(outcome, secret)
    reply.retry_after = delay(outcome)
    if outcome.unsent:
        reply.unsettled, reply.unsent = False, True
    return reply


def code_of(answer: Answer) -> object:
    """The code of a refusal, if it has one."""
    return (_object(answer.body) or {}).get("code")


def _object(body: bytes | None) -> dict[str, Any] | None:
    try:
        data = None if body is None else decode(body.decode())
    except (ValueError, RecursionError):
        return None
    return data if isinstance(data, dict) else None


def _unusable(operation: Operation, answer: Answer, said: dict[str, Any] | None) -> str:
    """What is wrong with a success, if anything."""
    if answer.body is None:
        return f"with more than {operation.answer_max} bytes"
    if said is None:
        return "with no JSON object"
    for member, fits in _MEMBERS[operation.name if answer.status == 200 else "queued"].items():
        if member not in said:
            return f'without "{member}"'
        if not fits(said[member]):
            return f'with an unusable "{member}"'
    return ""


def _without_code(answer: Answer, secret: str) -> Reply:
    status, peer = answer.status, answer.peer
    verdict, kind = WITHOUT_CODE.get(status, WITHOUT_CODE_ELSE)
    likely = "is this the address of a lockserver?"
    if status == 407:
        likely = "does a proxy before it ask for a password?"
    message = f"{peer} answered {status} without a lockserver's code: {likely}"
    said = " ".join((answer.body or b"").decode("utf-8", "replace").replace(secret, "…").split())[:200]
    if said:
        message += f" It said: {said}"
    return Reply(verdict, kind(message, status=status), obstacle=f"{peer} answered {status}")


def _refusal(status: int, code: str, problem: dict[str, Any]) -> Reply:
    """The server's refusal, with the members that its code is documented to have."""
    message = str(problem.get("detail") or problem.get("title") or f"the server answered {status}")
    if code not in CODES:
        verdict, _ = WITHOUT_CODE.get(status, WITHOUT_CODE_ELSE)
        return Reply(verdict, LockserverError(message, code=problem["code"], status=status))
    verdict, kind = CODES[code]
    error = kind(message, status=status)
    reply = Reply(verdict, error)
    if isinstance(error, LockedError):
        reply.in_the_way = InTheWay.read(problem)
        reply.in_the_way.put_on(error)
    elif isinstance(error, NotHeldError):
        reason = problem.get("reason")
        error.reason = reason if isinstance(reason, str) and reason else "unknown"
    elif isinstance(error, InvalidRequestError):
        named = problem.get("field")
        error.field = None if named is None else str(named)
    return reply


def _holder(said: object) -> Holder:
    one = said if isinstance(said, dict) else {}
    expires_in, held_for = (float(one[key]) if _number(one.get(key)) else None for key in ("expires_in", "held_for"))
    return Holder(str(one.get("owner", "")), _count(one.get("token")), expires_in, held_for)


def _count(value: object) -> int:
    return value if isinstance(value, int) else 0


def _number(value: object) -> TypeGuard[int | float]:
    """Whether it is one that a float can express."""
    return (
        isinstance(value, (int, float)) and value is not True and value is not False and -_LARGEST <= value <= _LARGEST
    )


# What was decoded has the very types of JSON, so that these need not look for others.


def _counts(value: Any) -> bool:
    return type(value) in _NUMBERS and 0 < value < 1 << 53 and value == int(value)


def _lasts(value: Any) -> bool:
    return type(value) in _NUMBERS and 0 <= value <= _LARGEST


def _may_last(value: Any) -> bool:
    return value is None or _lasts(value)


_GRANT: dict[str, Callable[[Any], bool]] = {
    "token": _counts,
    "expires_in": _may_last,
    "waited": _lasts,
}
_MEMBERS: dict[str, dict[str, Callable[[Any], bool]]] = {
    "acquire": _GRANT,
    "events": {"event": lambda _: False},  # it is no stream
    "renew": _GRANT,
    "queued": {"position": _counts},
    "release": {"outcome": lambda outcome: isinstance(outcome, str) and outcome != ""},
}
"""What an answer needs to be usable."""


def _without(secret: str, value: Any) -> Any:
    return value.replace(secret, "…") if isinstance(value, str) else value


def delay(answer: Answer) -> float:
    """How many seconds an answer asks to wait, from seconds or a date; 0 for what is neither."""
    retry_after = answer.retry_after
    if not retry_after:
        return 0.0
    try:
        seconds = float(retry_after)
    except ValueError:
        try:
            seconds = parsedate_to_datetime(retry_after).timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return seconds if 0 < seconds < math.inf else 0.0
