"""The one loop that sends again, and the only place that decides whether to."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from .._clock import Clock
from .._contract import BACKOFF_MOST, RELEASE, Operation
from .._errors import ConnectionFailedError, LockserverError
from .._operations import Reply, understand
from .._retry import Backoff, Bounds
from .._settings import Settings
from ._backend import Event, pause, place
from ._transport import AsyncSender, AsyncTransport, Attempt


class AsyncLink:
    """What a client's requests need in one place where it is used."""

    def __init__(self, settings: Settings, owner: str, bounds: Bounds, clock: Clock, transport: AsyncTransport) -> None:
        self.place = place()
        self.pid = os.getpid()
        self.owner = owner
        self.bounds = bounds
        self.clock = clock
        self.transport = transport
        self.closed = Event()
        self.secret = settings.secret


class AsyncRetry:
    """The attempts of one call.

    Args:
        left: How many seconds it may go on.
        sender: Makes the attempts, if not the link's transport.
        tag: Who asks, where the client's `close` is to end it.
        persist: Try again after whatever is no answer to the question, for a lease is at stake.
        single: Make it at each server once, whatever time is left.
        once: Do not repeat an attempt that may have arrived, as it cannot be told from another.
        over: The error when no time is left.
    """

    unsettled = False
    """Whether one of the attempts may have taken effect."""
    heard = 0.0
    """The last sign of life in a session, on the monotonic clock."""
    obstacle = ""
    """What stood in the way last."""
    _what = ""
    _round = 0
    """Attempts since the last pause, each at another server,"""
    _longest = 0.0
    """and the longest that one of them asks to wait."""

    def __init__(
        self,
        link: AsyncLink,
        left: Callable[[], float],
        *,
        sender: AsyncSender | None = None,
        tag: object = None,
        persist: bool = False,
        single: bool = False,
        once: bool = False,
        over: Callable[[], LockserverError] | None = None,
    ) -> None:
        self._link = link
        self._left = left
        self._sender = sender or link.transport
        self._tag = tag
        self._persist = persist
        self._single = single
        self._once = once
        self._over = over
        self._again = once
        self._backoff = Backoff()

    async def send(self, operation: Operation, attempt: Attempt) -> Reply:
        """Send until an answer decides: `attempt` gives each request with its bound. Raises what is no such answer."""
        self._what = operation.name
        link = self._link
        while True:
            began = time.monotonic()
            before, self.unsettled = self.unsettled, True  # an interruption leaves it open
            sent = None if operation is RELEASE else link.clock.now()
            outcome = await self._sender.send(operation, attempt, again=self._again, tag=self._tag)
            reply = understand(operation, outcome, link.secret)
            if sent is not None:
                reply.sent = sent
            self.unsettled = before or reply.unsettled
            if reply.verdict in ("done", "handle"):
                self._again = self._once
                self._round, self._longest = 0, 0.0
                return reply
            self.heard = max(self.heard, reply.heard)
            assert reply.error is not None
            if not (reply.late and self.obstacle):
                self.obstacle = reply.obstacle
            retries = self._persist or (reply.verdict == "retry" and (reply.unsent or not self._once))
            if not retries:
                raise reply.error
            if time.monotonic() - began >= BACKOFF_MOST:
                self.progress()  # an attempt as long as the longest pause needs none
            self._round += 1
            self._longest = max(self._longest, reply.retry_after)
            if outcome.elsewhere and self._round < self._sender.addresses():
                self._again = True
                self._check_closed(reply.error)
                if not self._single:
                    self.check(reply.error)
                continue
            longest, self._round, self._longest = self._longest, 0, 0.0
            await self.pause(reply.error, longest)

    async def pause(self, error: LockserverError | None, retry_after: float = 0.0) -> None:
        """Wait for the next attempt, or raise that there is none."""
        self._again = self._again or error is not None
        self.check(error)
        delay = max(0.0, min(self._backoff.next(retry_after), self._left()))
        await pause(delay, None if self._tag is None else self._link.closed)
        self.check(error)

    def check(self, error: LockserverError | None) -> None:
        """Raise where there is to be no other attempt."""
        self._check_closed(error)
        if self._left() <= 0:
            raise (self._over or self._unanswered)() from error

    def _check_closed(self, error: LockserverError | None) -> None:
        if self._tag is not None and self._link.closed.is_set():
            raise ConnectionFailedError("the client was closed") from error

    def _unanswered(self) -> LockserverError:
        return ConnectionFailedError(f"no usable answer to {self._what}: {self.obstacle}")

    def progress(self) -> None:
        """The server's word was no failure: the next pause is the first again."""
        self._backoff.reset()
