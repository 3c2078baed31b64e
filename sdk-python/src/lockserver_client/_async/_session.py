"""The transport over a session: one connection for everything that is asked at the same time."""

from __future__ import annotations

import os
import threading
import time
import weakref
from collections.abc import Awaitable, Callable
from typing import NamedTuple

from .._contract import (
    CODES,
    HOP,
    SESSION_PATH,
    SESSION_SUBPROTOCOL,
    Operation,
)
from .._exchange import LARGEST_REQUEST, Lost
from .._frames import accepted, new_key
from .._operations import code_of, delay
from .._outcome import Answer, Failure, NetworkError, Outcome
from .._retry import Backoff, Bounds
from .._servers import Servers
from .._settings import Address, Settings
from ._backend import Background, Event, Waiter, pause
from ._servers import AsyncHttpServers
from ._transport import AsyncBody, AsyncSession, AsyncTransport, Attempt
from ._wire import Wire

_LARGEST_REFUSAL = 1 << 20
_NO_REFUSAL = (401, 429, 503)
_STANDS = Failure("", False)
"""What those who wait for a session are given when there is one,"""
_OVER_HTTP = Failure("", False)
"""and what they are given where HTTP takes its place."""


class _Refusal(NamedTuple):
    """There is no lockserver with sessions at that address, or something before it keeps them away."""

    why: str


def transport(settings: Settings, bounds: Bounds) -> AsyncTransport:
    """What the settings ask for."""
    servers = Servers(settings.addresses)
    over = AsyncHttpServers(settings, bounds, servers)
    return over if settings.transport == "http" else AsyncSessions(settings, bounds, servers, over)


class AsyncSessions:
    """Has one session at a time, made when it is needed, and HTTP for what cannot go over it."""

    def __init__(self, settings: Settings, bounds: Bounds, servers: Servers, over: AsyncHttpServers) -> None:
        self._servers = servers
        self._alone = len(servers.all) == 1
        self._http = over
        self._only = settings.transport == "session"
        self._bounds = bounds
        self._pid = os.getpid()
        self._lost: Lost
        self._begun: Callable[[AsyncSession], Awaitable[None]]
        self._mutex = threading.Lock()
        self._wire: Wire | None = None
        self._left: list[Wire] = []
        """Sessions that get no new requests, on which some still wait."""
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

    def addresses(self) -> int:
        """How many servers there are to be asked."""
        return self._http.addresses()

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
            if failure is None and wire is None:
                return Failure(f"the session with {self._servers.current.authority} has ended", False)
        if wire is not None:
            request, bound = attempt(True)
            if len(request) <= LARGEST_REQUEST:
                outcome = await wire.ask(operation, request, bound, tag)
                if outcome is not None:
                    return outcome if self._alone else self._judged(wire, outcome)
        return await self._http.send(operation, attempt, again=again, tag=tag)

    async def follow(
        self, operation: Operation, attempt: Attempt, last: str, tag: object
    ) -> tuple[Outcome, AsyncBody | None]:
        """Ask for a stream of events behind the last one."""
        return await self._http.follow(operation, attempt, last, tag)

    def _judged(self, wire: Wire, outcome: Outcome) -> Outcome:
        """What became of a request. If its server failed and there is another, the session gets no new ones."""
        judged = self._servers.judge(wire.server, outcome)
        if judged.elsewhere:
            with self._mutex:
                if self._wire is wire:
                    self._wire = None
                    self._left = [*(other for other in self._left if not other.exchange.ended), wire]
            wire.exchange.finish()
        return judged

    def end(self, tag: object) -> None:
        """End the attempt of this tag."""
        with self._mutex:
            wanting = [waiter for waiter in self._wanting if waiter.tag is tag]
        for waiter in wanting:
            waiter.give(Failure("given up", False, given_up=True))
        for wire in self._wires():
            wire.end(tag)
        self._http.end(tag)

    def _wires(self) -> list[Wire]:
        return [*self._left, *([] if self._wire is None else [self._wire])]

    def close(self) -> None:
        """End attempts with a tag; the second time, end the session once nothing else is unanswered."""
        with self._mutex:
            again, self._closed = self._closed, True
            wires, dialling = self._wires(), self._background
            wanting, self._wanting = self._wanting, set()
        for waiter in wanting:
            waiter.give(_OVER_HTTP if waiter.tag is None else Failure(self._why or "the client was closed", False))
        self._leaving.set()
        if dialling is not None:
            dialling.end()
        for wire in wires:
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
            why = self._why or f"no session with {self._servers.current.authority} in time"
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
            before = self._wire
            if before is not None:
                self._servers.leave(before.server)  # it has ended
            if before is not None and before.exchange.answers:
                self._backoff.reset()
            elif (delay := self._not_before - time.monotonic()) > 0:
                await pause(delay, self._leaving)
            got = await self._ask_round()
            wire, failure = (got, _STANDS) if isinstance(got, Wire) else (None, got)
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

    async def _ask_round(self) -> Wire | Outcome:
        """Ask one server after the other, until one gives a session, or says what no other would say differently.

        If none does, a refusal is what comes of it before an answer, and an answer before a failure.
        """
        one = self._servers.current
        last: Outcome | None = None
        refusal: Outcome | None = None
        for _ in self._servers.all:
            try:
                got = await self._upgrade(one)
            except NetworkError as error:
                got = Failure(str(error), False, error.permanent, error.late)
            if isinstance(got, Wire):
                self._servers.stay(one)
                return got
            if isinstance(got, _Refusal):
                refusal = Failure(got.why, False, permanent=True) if self._only else _OVER_HTTP
            elif not self._servers.judge(one, got).elsewhere:
                return got
            else:
                last = _worse(last, got)
            one = self._servers.after(one)
        outcome = refusal or last
        assert outcome is not None
        return outcome

    async def _upgrade(self, one: Address) -> Wire | Outcome | _Refusal:
        key = new_key()
        headers = (
            f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Protocol: {SESSION_SUBPROTOCOL}\r\n"
        )
        bound = self._bounds.connect + self._bounds.answer
        upgrade = await self._http.at(one).upgrade(SESSION_PATH, headers, bound, _LARGEST_REFUSAL, self)
        answer = upgrade.answer
        if upgrade.stream is not None:
            agreed = upgrade.headers.get(b"sec-websocket-protocol") == SESSION_SUBPROTOCOL.encode()
            if agreed and upgrade.headers.get(b"sec-websocket-accept") == accepted(key).encode():
                patience = HOP + self._bounds.answer
                wire = Wire(upgrade.stream, one, patience, self._bounds.ping, self._lost)
                wire.begin(upgrade.unread)
                return wire
            upgrade.stream.close()
            why = f"{one.authority} does not answer as a WebSocket should"
        elif answer.status in _NO_REFUSAL and code_of(answer) in CODES:
            return answer._replace(unsent=True)
        else:
            why = f"{one.authority} answered {answer.status} to the request for a session"
        return _Refusal(why)


def _worse(before: Outcome | None, outcome: Outcome) -> Outcome:
    """Which of two servers that gave no session is to be told of."""
    if not isinstance(before, Answer):
        return outcome
    return outcome if isinstance(outcome, Answer) and delay(outcome) >= delay(before) else before


async def _serve(box: list[AsyncSessions]) -> None:
    sessions = box.pop()
    wire, begun = await sessions._try(), sessions._begun
    del sessions
    if wire is not None:
        await begun(wire)
        await wire.keep()
