"""How often to ask again, and for how long."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass

_GRACE = 0.25
_FIRST, _MOST = 0.05, 2.0


@dataclass(slots=True)
class Bounds:
    """The limits of everything that touches the network, in seconds."""

    hop: float = 10.0
    """What one request may wait on the server: short enough for any proxy."""
    connect: float = 5.0
    answer: float = 10.0
    """What an answer may take beyond its request's wait."""
    release: float = 5.0
    """A release or a cancellation in all, repetitions included."""
    unanswered: float = 30.0
    """How long a call without a limit of its own goes on without any answer,"""
    unanswered_queued: float = 60.0
    """and how long one that has its place in the queue."""


class Backoff:
    """The first repetition at once, then jittered delays that double up to 2 s."""

    def __init__(self) -> None:
        self._count = 0

    def reset(self) -> None:
        self._count = 0

    def next(self, retry_after: float = 0.0) -> float:
        """Seconds until the next try; what the server asks for is the minimum."""
        self._count += 1
        if self._count == 1:
            return retry_after
        delay = min(_MOST, _FIRST * 2.0 ** min(self._count - 2, 10))
        return max(retry_after, delay * random.uniform(0.5, 1.0))


@dataclass(slots=True)
class Tries:
    """What is known of the tries of one request, over all calls that send it."""

    unanswered: bool = False
    """Whether one of them may have taken effect though no answer said so."""


class Patience:
    """How long an acquisition goes on: the caller's limit, or else as long as the server gives signs of life."""

    def __init__(self, bounds: Bounds, timeout: float | None, *, blocking: bool) -> None:
        self._bounds = bounds
        self._timeout = timeout
        self._waits = blocking and timeout != 0
        self._begin = self._heard = time.monotonic()
        self._silence = bounds.unanswered

    def heard(self, *, queued: bool) -> None:
        """An answer came that says where the acquisition stands."""
        self._heard = time.monotonic()
        self._silence = self._bounds.unanswered_queued if queued else self._bounds.unanswered

    def left(self) -> float:
        if self._timeout is not None:
            return self._begin + self._timeout - time.monotonic()
        return self._heard + self._silence - time.monotonic()

    def hop(self) -> tuple[float, float]:
        """For the next request: how long it may wait on the server, and how long its answer may take in all.

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
            wait = min(bounds.hop, left)
            return wait, min(wait + bounds.answer, left + _GRACE)
        wait = min(bounds.hop, left / 2)
        return wait, min(wait + bounds.answer, left)
