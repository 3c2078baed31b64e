"""What became of an attempt: an answer, or the reason why there is none."""

from __future__ import annotations

import re
import ssl
from types import TracebackType
from typing import Any, NamedTuple

_BESIDE_THE_POINT = re.compile(r"\[[^]]*\] ?| \(_ssl\.c:\d+\)")
_PERMANENT = re.compile(
    r"wrong version number|https? (proxy )?request|unsupported protocol|protocol version|no protocols available"
    r"|version too low|record layer failure|packet length too long"
)
_REFUSED = re.compile(
    r"alert (bad certificate|unsupported certificate|certificate (revoked|expired|unknown|required)|unknown ca"
    r"|access denied)"
)
_CALLED = ("asyncio", "concurrent", "selectors", "socket", "ssl", "threading")


class Answer(NamedTuple):
    """An answer, read to its end."""

    status: int
    body: bytes | None
    """None: larger than any answer to that operation."""
    retry_after: str | None = None
    said: dict[str, Any] | None = None
    """The object in the body, where whoever brings it has decoded it already."""
    unsent: bool = False
    """Whether it is the answer to another request, without which this one could not be sent."""
    session: object = None
    """The session that brought it."""
    peer: str = ""
    """Who said it, for people: `127.0.0.1:8080`."""
    elsewhere: bool = False
    """Whether the next attempt is made at another server."""
    goes_on: bool = False
    """Whether it is a stream of events."""


class Failure(NamedTuple):
    """No answer came."""

    why: str
    unknown: bool
    """Whether the request may have taken effect all the same; if not, it surely never arrived."""
    permanent: bool = False
    """Whether no other attempt can do better."""
    late: bool = False
    """Whether no more is known than that it ran out of time."""
    heard: float = 0.0
    """When the server gave its last sign of life in a session, on the monotonic clock."""
    given_up: bool = False
    """Whether it is only that the caller ended it."""
    elsewhere: bool = False
    """Whether the next attempt is made at another server."""


Outcome = Answer | Failure


class NetworkError(Exception):
    """What a stream raises. It is no OSError, so that one of a signal handler is never taken for the network's."""

    def __init__(self, why: str, *, permanent: bool = False, late: bool = False, unsent: bool = False) -> None:
        super().__init__(why)
        self.permanent = permanent
        self.unsent = unsent
        """Whether it surely kept everything from arriving, although it came after that was sent."""
        self.late = late


def network_error(error: Exception, peer: str) -> NetworkError:
    """What went wrong on the network, in the same words for both flavours."""
    if isinstance(error, ConnectionRefusedError):
        return NetworkError(f"connection refused by {peer}")
    if isinstance(error, TimeoutError):
        return late(peer)
    if isinstance(error, ssl.SSLError):
        said = _BESIDE_THE_POINT.sub("", str(error)) or type(error).__name__
        if isinstance(error, ssl.SSLCertVerificationError):
            return NetworkError(f"{peer}: {said}", permanent=True)
        words = f"{error.reason} {error}".lower().replace("_", " ")
        if alert := _REFUSED.search(words):
            why = f"{peer} does not accept this client's certificate, or wants one: {alert[1]}"
            return NetworkError(why, permanent=True, unsent=True)
        if _PERMANENT.search(words):
            return NetworkError(f"{peer} does not speak TLS, or not this version of it: {said}", permanent=True)
        return NetworkError(f"{peer}: {said}")
    if isinstance(error, OSError) and error.strerror:
        return NetworkError(f"{peer}: {error.strerror}")
    # Anything but an OSError comes from an address that cannot be one.
    return NetworkError(f"{peer}: {str(error) or type(error).__name__}", permanent=not isinstance(error, OSError))


def late(peer: str) -> NetworkError:
    return NetworkError(f"no answer from {peer} in time", late=True)


def closed(peer: str) -> NetworkError:
    return NetworkError(f"{peer} closed the connection before its answer")


def of_handler(error: BaseException, loop: str = "asyncio") -> bool:
    """Whether a signal handler raised it that ran in the code which catches it, and not a call of that code.

    A handler has a frame of its own; a call into the standard library, or the module of an event loop, has none or its.
    """
    called = (*_CALLED, loop.partition(".")[0])
    step: TracebackType | None = error.__traceback__
    while step is not None and (step := step.tb_next) is not None:
        if str(step.tb_frame.f_globals.get("__name__")).partition(".")[0] not in called:
            return True
    return False
