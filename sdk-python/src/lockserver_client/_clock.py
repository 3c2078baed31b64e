"""The two clocks."""

from __future__ import annotations

import time
from typing import NamedTuple


class Instant(NamedTuple):
    """One moment on both clocks. A suspended machine stops the first; setting the time moves the second."""

    monotonic: float
    wall: float

    def after(self, seconds: float) -> Instant:
        return Instant(self.monotonic + seconds, self.wall + seconds)

    def until(self, end: Instant) -> float:
        """Seconds until whichever clock reaches that moment first."""
        return min(end.monotonic - self.monotonic, end.wall - self.wall)


class Clock:
    """One reading of both; in tests they can be made to run ahead."""

    __slots__ = ("monotonic_ahead", "wall_ahead")

    def __init__(self) -> None:
        self.monotonic_ahead = 0.0
        self.wall_ahead = 0.0

    def left(self, end: Instant) -> float:
        """`now().until(end)`, for a fraction of its cost."""
        monotonic = end.monotonic - time.monotonic() - self.monotonic_ahead
        wall = end.wall - time.time() - self.wall_ahead
        return monotonic if monotonic < wall else wall

    def now(self) -> Instant:
        return Instant(time.monotonic() + self.monotonic_ahead, time.time() + self.wall_ahead)
