"""How long a lease may be trusted."""

from __future__ import annotations

import math
import time
from typing import NamedTuple


def safety_margin(lease: float) -> float:
    """How many seconds before its end a lease is no longer trusted, as clocks run at different speeds."""
    return 0.01 * lease + 0.002


class Instant(NamedTuple):
    """One moment on both clocks. A suspended machine stops the first; setting the time moves the second."""

    monotonic: float
    wall: float


class Clock:
    """The two clocks that a lease is measured on; in tests they can be made to run ahead."""

    __slots__ = ("monotonic_ahead", "wall_ahead")

    def __init__(self) -> None:
        self.monotonic_ahead = 0.0
        self.wall_ahead = 0.0

    def now(self) -> Instant:
        return Instant(time.monotonic() + self.monotonic_ahead, time.time() + self.wall_ahead)


class SafeDeadline:
    """The moment until which a lease is certainly still ours.

    It counts from when the request was sent, so the way of the answer is on the safe side, and keeps the safety margin
    back. It ends with whichever clock reaches it first.
    """

    __slots__ = ("_clock", "_end")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._end = Instant(-math.inf, -math.inf)

    def confirm(self, sent: Instant, waited: float, expires_in: float | None) -> None:
        """Take in a grant or renewal that the server confirmed. An earlier deadline never shortens a later one."""
        trusted = math.inf if expires_in is None else waited + expires_in - safety_margin(expires_in)
        if sent.monotonic + trusted > self._end.monotonic:
            self._end = Instant(sent.monotonic + trusted, sent.wall + trusted)

    def remaining(self) -> float:
        """Seconds left; zero or less once it has passed, infinite without a lease."""
        now, end = self._clock.now(), self._end
        return min(end.monotonic - now.monotonic, end.wall - now.wall)
