"""How long a lease may be trusted."""

from __future__ import annotations

import math

from ._clock import Clock, Instant
from ._contract import MARGIN, MARGIN_PART


def safety_margin(lease: float) -> float:
    """How many seconds before its end a lease is no longer trusted, as clocks run at different speeds."""
    return MARGIN_PART * lease + MARGIN


_PAST = Instant(-math.inf, -math.inf)


class SafeDeadline:
    """The moment until which a lease is certainly still ours.

    It counts from when the request was sent, so the way of the answer is on the safe side, and keeps the safety margin
    back. It ends with whichever clock reaches it first.
    """

    __slots__ = ("_clock", "_end")

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._end = _PAST

    def confirm(self, sent: Instant, waited: float, expires_in: float | None) -> None:
        """Take in a grant or renewal that the server confirmed. An earlier deadline never shortens a later one.

        The later of two is the one that leaves more time from now on, as whichever clock ends each of them. The two
        readings of a deadline stay together: those of another moment may lie on the other side of a step of the time.
        """
        trusted = math.inf if expires_in is None else waited + expires_in - safety_margin(expires_in)
        end = sent.after(trusted)
        if self._end is not _PAST:
            now = self._clock.now()
            if now.until(end) <= now.until(self._end):
                return
        self._end = end

    def left(self) -> float:
        """Seconds left; zero or less once it has passed, infinite without a lease."""
        return self._clock.left(self._end)
