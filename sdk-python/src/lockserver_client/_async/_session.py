"""The transport over a session: one connection for everything that is asked at the same time."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable

from .._contract import (
    CODES,
    HOP,
    SESSION_PATH,
    SESSION_SUBPROTOCOL,
    Operation,
)
from .._exchange import LARGEST_REQUEST, Lost
from .._frames import accepted, new_key
from .._operations import code_of
from .._outcome import Failure, NetworkError, Outcome
from .._retry import Backoff, Bounds
from .._settings import Settings
from ._backend import Background, Event, Waiter, pause
from ._http import AsyncHttp
from ._transport import AsyncSession, AsyncTransport, Attempt
from ._wire import Wire

_LARGEST_REFUSAL = 1 << 20
_NO_REFUSAL = (401, 429, 503)
_STANDS = Failure("", False)
"""What those who wait for a session are given when there is one,"""
_OVER_HTTP = Failure("", False)
"""and what they are given where HTTP takes its place."""


def transport(settings: Settings, bounds: Bounds) -> AsyncTransport:
    """What the settings ask for."""
    return AsyncHttp(settings, bounds) if settings.transport == "http" else AsyncSessions(settings, bounds)


class AsyncSessions:
    """Has one session at a time, made when it is needed, and HTTP for what cannot go over it."""

    def __init__(self, settings: Settings, bounds: Bounds) -> None:
        self._http = AsyncHttp(settings, bounds)
        self._only = settings.transport == "session"
        self._peer = settings.address.authority
        self._bounds = bounds
        self._pid = os.getpid()
        self._lost: Lost
        self._begun: Callable[[AsyncSession], Awaitable[None]]
        self._mutex = threading.Lock()
        self._wire: Wire | None = None
        self._unfinished: weakref.finalize[[], AsyncSessions] | None = None
        self._dialling = False
        self._background: Background | None = None
        self._wanting: set[Waiter] = set()
        """Those who wait for a session."""
        self._backoff = Backoff()
        self._not_before = 0.0
        """When the next attempt to get one may begin,"""
        self._http_until = 0.0
        """and until when none is to be tried, as one was refused."""
        self._why = ""
        """Why there is none."""
        self._closed = False
        self._leaving = Event()

    def attend(self, lost: Lost, begun: Callable[[AsyncSession], Awaitable[None]]) -> None:
        """Say who is to hear of losses that the server tells by itself, and of new sessions; neither may keep this."""
        self._lost, self._begun = lost, begun

    def session(self) -> AsyncSession | None:
        """The session that stands."""
        wire = self._wire
        return wire if wire is not None and not wire.exchange.ended else None

    async def send(self, operation: Operation, attempt: Attempt, *, again: bool = False, tag: object = None) -> Outcome:
        """Make one attempt. A session on which others get answers serves the next one too, whatever `again` says."""
        if self._pid != os.getpid():
            return Failure("the call was made in the process that this one was forked from", False, permanent=True)
        wire = self._wire
        if wire is None or wire.exchange.ended:
            failure = await self._get(attempt(False)[1], tag)
            if failure is not None and failure is not _OVER_HTTP:
                return failure
            wire = None if failure is _OVER_HTTP else self._wire
        if wire is not None:
            request, bound = attempt(True)
            if len(request) <= LARGEST_REQUEST:
                outcome = await wire.ask(operation, request, bound, tag)
                if outcome is not None:
                    return outcome
        return await self._http.send(operation, attempt, again=again, tag=tag)

    def end(self, tag: object) -> None:
        """End the attempt of this tag."""
        with self._mutex:
            wanting = [waiter for waiter in self._wanting if waiter.tag is tag]
        for waiter in wanting:
            waiter.give(Failure("given up", False))
        if self._wire is not None:
            self._wire.end(tag)
        self._http.end(tag)

    def close(self) -> None:
        """End attempts with a tag; the second time, end the session once nothing else is unanswered."""
        with self._mutex:
            again, self._closed = self._closed, True
            wire, dialling = self._wire, self._background
            wanting, self._wanting = self._wanting, set()
        for waiter in wanting:
            waiter.give(_OVER_HTTP if waiter.tag is None else Failure(self._why or "the client was closed", False))
        self._leaving.set()
        if dialling is not None:
            dialling.end()
        if wire is not None:
            for waits in wire.exchange.waiting():
                if waits.tag is not None:
                    waits.give(Failure("the client was closed", True))
            if again:
                wire.exchange.finish()
        self._http.close()

    async def _get(self, bound: float, tag: object) -> Outcome | None:
        """None once there is a session; else why there is none."""
        end = time.monotonic() + bound
        waiter = Waiter(tag)
        with self._mutex:
            if self._wire is not None and not self._wire.exchange.ended:
                return None
            if self._closed or time.monotonic() < self._http_until:
                return _OVER_HTTP
            self._wanting.add(waiter)
            first, self._dialling = not self._dialling, True
        try:
            if first and not self._dial():
                return _OVER_HTTP
            outcome = await waiter.wait(end - time.monotonic())
        finally:
            with self._mutex:
                self._wanting.discard(waiter)
        if outcome is None:
            why = self._why or f"no session with {self._peer} in time"
            return Failure(why, False, late=not self._why)
        return None if outcome is _STANDS else outcome

    def _dial(self) -> bool:
        """Try to get a session, in the background; false if nothing can run there."""
        box = [self]  # what runs for as long as the session must not keep the client
        try:
            background = Background(lambda: _serve(box), "lockserver-session")
        except BaseException:
            self._dialling = False
            raise
        if background.started:
            self._background = background
        else:
            self._dialling = False
        return background.started

    async def _try(self) -> Wire | None:
        """One attempt to get a session, after the pause that is due."""
        wire: Wire | None = None
        failure: Outcome = Failure("the client was closed", False)
        try:
            if self._wire is not None and self._wire.exchange.answers:
                self._backoff.reset()
            elif (delay := self._not_before - time.monotonic()) > 0:
                await pause(delay, self._leaving)
            got = await self._upgrade()
            wire, failure = (got, _STANDS) if isinstance(got, Wire) else (None, got)
        except NetworkError as error:
            failure = Failure(str(error), False, error.permanent, error.late)
        finally:
            self._settle(wire, failure)
        return wire

    def _settle(self, wire: Wire | None, outcome: Outcome) -> None:
        with self._mutex:
            self._dialling = False
            self._not_before = time.monotonic() + self._backoff.next()
            self._why = outcome.why if isinstance(outcome, Failure) else ""
            if outcome is _OVER_HTTP:
                self._http_until = time.monotonic() + self._bounds.session_again
            if wire is not None:
                if self._unfinished is not None:
                    self._unfinished.detach()
                self._wire, self._unfinished = wire, weakref.finalize(self, wire.give_up)
                self._unfinished.atexit = False
            closed = self._closed
            wanting, self._wanting = self._wanting, set()
        for waiter in wanting:
            waiter.give(outcome)
        if closed and wire is not None:
            wire.exchange.finish()

    async def _upgrade(self) -> Wire | Outcome:
        key = new_key()
        headers = (
            f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {SESSION_SUBPROTOCOL}\r\n"
        )
        bound = self._bounds.connect + self._bounds.answer
        upgrade = await self._http.upgrade(SESSION_PATH, headers, bound, _LARGEST_REFUSAL, self)
        answer = upgrade.answer
        if upgrade.stream is not None:
            agreed = upgrade.headers.get(b"sec-websocket-protocol") == SESSION_SUBPROTOCOL.encode()
            if agreed and upgrade.headers.get(b"sec-websocket-accept") == accepted(key).encode():
                patience = HOP + self._bounds.answer
                wire = Wire(upgrade.stream, self._peer, patience, self._bounds.ping, self._lost)
                wire.begin(upgrade.unread)
                return wire
            upgrade.stream.close()
            why = f"{self._peer} does not answer as a WebSocket should"
        elif answer.status in _NO_REFUSAL and code_of(answer) in CODES:
            return answer._replace(unsent=True)
        else:
            why = f"{self._peer} answered {answer.status} to the request for a session"
        return Failure(why, False, permanent=True) if self._only else _OVER_HTTP


async def _serve(box: list[AsyncSessions]) -> None:
    sessions = box.pop()
    wire, begun = await sessions._try(), sessions._begun
    del sessions
    if wire is not None:
        await begun(wire)
        await wire.keep()
