"""How often to ask again, and for how long."""

from __future__ import annotations

import math
import random
import time
from dataclasses import dataclass

from . import _contract

_GRACE = 0.25
_LAST_LOOK = 0.25
_LONGEST_WAIT = 315360000.0
"""Ten years: the most that the server takes."""


@dataclass(slots=True)
class Bounds:
    """The limits of everything that touches the network, in seconds."""

    connect: float = _contract.CONNECT
    hop: float = _contract.HOP
    """What one request may wait on the server: short enough for any proxy."""
    answer: float = _contract.ANSWER
    """What an answer may take beyond its request's wait."""
    cleanup: float = _contract.CLEANUP
    """A release or a cancel in all, retries included."""
    silence: float = _contract.SILENCE
    """How long a call without a limit of its own goes on without any answer,"""
    silence_queued: float = _contract.SILENCE_QUEUED
    """and how long one that has its place in the queue."""
    ping: float = _contract.SESSION_PING
    """Between two pings of a session that is silent."""
    session_again: float = _contract.SESSION_AGAIN
    """Until a session is tried again where it was refused."""


class Backoff:
    """The first retry at once, then jittered pauses that grow up to a limit."""

    _count = 0

    def reset(self) -> None:
        self._count = 0

    def next(self, retry_after: float = 0.0) -> float:
        """Seconds until the next attempt; what the server asks for is the minimum."""
        self._count += 1
        if self._count == 1:
            return retry_after
        grown = _contract.BACKOFF_FIRST * float(_contract.BACKOFF_FACTOR) ** min(self._count - 2, 20)
        part = random.uniform(1 - _contract.BACKOFF_JITTER, 1)
        return max(retry_after, min(_contract.BACKOFF_MOST, grown) * part)


class Patience:
    """How long an acquisition goes on: the caller's limit, or else as long as the server gives signs of life."""

    def __init__(self, bounds: Bounds, timeout: float | None, *, blocking: bool) -> None:
        self._bounds = bounds
        self._timeout = timeout
        self._waits = blocking and timeout != 0
        self._begin = self._heard = time.monotonic()
        self._silence = bounds.silence
        self._looked = False
        """Whether the server was asked who is in the way, shortly before the limit."""

    def heard(self, *, queued: bool) -> None:
        """An answer came that says where the acquisition stands."""
        self._heard = time.monotonic()
        self._silence = self._bounds.silence_queued if queued else self._bounds.silence

    def left(self, alive: float = 0.0) -> float:
        """Seconds until it is time to give up; `alive` is the last sign of life in a session, while it waited there."""
        if self._timeout is not None:
            return self._begin + self._timeout - time.monotonic()
        if alive > self._heard:
            self.heard(queued=True)
            self._heard = alive
        return self._heard + self._silence - time.monotonic()

    def whole(self) -> tuple[float, float]:
        """For an attempt in a session: how long it may wait on the server, and its bound.

        Without a limit the session's own signs of life are the bound.
        """
        if not self._waits:
            return self.hop()
        if self._timeout is None:
            return _LONGEST_WAIT, math.inf
        left = max(self.left(), 0.001)
        return min(self._most(left), _LONGEST_WAIT), left + _GRACE

    def _most(self, left: float) -> float:
        """How long to wait with that much time left: at first less, so that an answer tells who is in the way."""
        if self._looked:
            return left
        self._looked = True
        return left - min(_LAST_LOOK, left / 5)

    def hop(self) -> tuple[float, float]:
        """For the next attempt: how long it may wait on the server, and its bound.

        The answer to a last wait is given a little longer than the caller's limit, so that as a rule the server's
        word ends the call and not a closed connection.
        """
        bounds = self._bounds
        if self._timeout == 0:
            return 0.0, bounds.answer
        left = max(self.left(), 0.001)
        if not self._waits:
            return 0.0, min(bounds.answer, left)
        if self._timeout is not None:
            wait = bounds.hop if left > bounds.hop else self._most(left)
            return wait, min(wait + bounds.answer, left + _GRACE)
        wait = min(bounds.hop, left / 2)
        return wait, min(wait + bounds.answer, left)
