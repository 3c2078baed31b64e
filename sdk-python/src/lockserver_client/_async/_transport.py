"""The seam between what is asked and how it gets there: nothing above it knows HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from .._contract import Operation
from .._exchange import Exchange, Lost
from .._outcome import Outcome

Attempt = Callable[[bool], tuple[bytes, float]]
"""Makes a request, with the bound of its answer in seconds. True: it goes over a session, where a wait has no hops."""


class AsyncSession(Protocol):
    """One session."""

    exchange: Exchange

    async def ask_all(
        self, operation: Operation, requests: Sequence[bytes], bound: float, tag: object
    ) -> list[Outcome]:
        """Ask in one message; the outcomes in the same order."""


class AsyncBody(Protocol):
    """The body of an answer that goes on."""

    peer: str

    async def read(self, end: float) -> bytes:
        """Some bytes, or none at its end; by a moment on the monotonic clock, or NetworkError."""

    def close(self) -> None:
        """Close its connection."""


class AsyncSender(Protocol):
    """Makes attempts."""

    def addresses(self) -> int:
        """How many servers there are to be asked."""

    async def send(self, operation: Operation, attempt: Attempt, *, again: bool = False, tag: object = None) -> Outcome:
        """Make one attempt.

        `again`: the one before it failed, so nothing that it used is used again. `tag` names what `end` may end.
        """


class AsyncTransport(AsyncSender, Protocol):
    """Carries requests to the server and their answers back."""

    async def follow(
        self, operation: Operation, attempt: Attempt, last: str, tag: object
    ) -> tuple[Outcome, AsyncBody | None]:
        """Ask for a stream of events behind the last one, always over HTTP. The attempt gives a query."""

    def attend(self, lost: Lost, begun: Callable[[AsyncSession], Awaitable[None]]) -> None:
        """Say who is to hear of losses that the server tells by itself, and of new sessions."""

    def session(self) -> AsyncSession | None:
        """What many requests can be asked on at once, if there is such a thing."""

    def end(self, tag: object) -> None:
        """End the attempt of this tag; may be called from another thread."""

    def close(self) -> None:
        """End attempts with a tag, and keep nothing open beyond the others.

        Called before the last requests and after them: what serves many requests may stay in between.
        """
