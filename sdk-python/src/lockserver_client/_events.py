"""What happens to locks, as a stream of server-sent events tells it (WHATWG HTML, section 9.2)."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from ._contract import SESSION_PINGS
from ._operations import decode
from ._retry import Bounds

LINE_MAX = 1 << 20
"""The longest line of a stream, and the largest answer in place of one, in bytes."""


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to a grant or a waiter. Times are in seconds; None is for what does not apply."""

    kind: str
    """`granted`, `released`, `expired`, `evicted`, `handed_back`, `queued`, `left`, `yield` or `stuck`; `gap`: some
    were missed."""
    number: int | None = None
    """Rises from event to event, of whatever resource."""
    time: datetime | None = None
    resource: str | None = None
    owner: str | None = None
    id: str | None = None
    token: int | None = None
    note: str | None = None
    mode: str | None = None
    """`exclusive` or `shared`."""
    limit: int | None = None
    """Permits of a semaphore."""
    expires_in: float | None = None
    """What is left of the lease; of a waiter, the lease that it asks for."""
    waiters: int | None = None
    """Places in the queue after it."""
    waited: float | None = None
    """With `granted` and `left`."""
    held_for: float | None = None
    """Of a grant that was there before."""
    why: str | None = None
    """With `left`: `gone`, `timed_out`, `cancelled`, `place_lost` or `draining`."""
    by: str | None = None
    """With `evicted`: the address that asked for it; with `yield`: who asked."""
    missed: int | None = None
    """With `gap`: how many events, of whatever resource; None if nobody knows."""


_MEMBERS = tuple(name for name in Event.__slots__ if name not in ("kind", "number", "time"))


class Reader:
    """Makes events of bytes.

    Args:
        bounds: What a client's requests keep to.
    """

    last = ""
    """The id of the last block, be it an event or not."""

    def __init__(self, bounds: Bounds) -> None:
        self._bounds = bounds
        self._heard = time.monotonic()
        self.begin()

    def begin(self) -> None:
        """Another stream begins."""
        self._rest = b""
        self._id = self.last
        self._kind = ""
        self._data: list[str] = []

    def left(self) -> float:
        """How many seconds to go on without a byte."""
        return self._heard + self._bounds.silence - time.monotonic()

    def silence(self) -> float:
        """The moment by which something must come, on the monotonic clock."""
        return time.monotonic() + (SESSION_PINGS + 1) * self._bounds.ping

    def read(self, data: bytes) -> list[Event]:
        """The events that are whole now, or ValueError that says what came in their place."""
        self._heard = time.monotonic()
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > LINE_MAX:
            raise ValueError(f"a line of more than {LINE_MAX} bytes")
        events: list[Event] = []
        for line in lines:
            name, _, value = line.removesuffix(b"\r").decode("utf-8", "replace").partition(":")
            value = value.removeprefix(" ")
            if name == "id":
                self._id = value
            elif name == "event":
                self._kind = value
            elif name == "data":
                self._data.append(value)
            elif not name and not value:
                self._end(events)
        return events

    def _end(self, events: list[Event]) -> None:
        """A block is over. One without data only says how far the stream has come."""
        kind, data, self._kind, self._data = self._kind, self._data, "", []
        self.last = self._id
        if data and kind != "draining":  # the stream ends behind that
            events.append(_event(kind, "\n".join(data)))


def _event(kind: str, data: str) -> Event:
    try:
        said: dict[str, Any] = decode(data)
        happened = said.get("time")
        return Event(
            kind,
            said.get("event"),
            None if happened is None else datetime.fromisoformat(happened),
            **{name: said.get(name) for name in _MEMBERS},
        )
    except (ValueError, TypeError, AttributeError, RecursionError):
        raise ValueError(f"what is no event: {data[:100]}") from None
