"""How an exchange gets to the network, for tasks. `_sync/_wire.py` has the same names."""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Sequence
from typing import Any

from .._contract import Operation
from .._exchange import Exchange, Lost
from .._outcome import Answer, NetworkError, Outcome
from .._settings import Address
from ._backend import Deadlines, Stream, Waiter
from ._tls import AsyncAnyStream


class Wire:
    """A session on its connection. All that is asked in one turn of the loop goes out in one message.

    It needs no task: the loop calls it when something comes. So an idle session is nothing that a loop would have to
    end.
    """

    def __init__(self, stream: AsyncAnyStream, server: Address, patience: float, ping: float, lost: Lost) -> None:
        self.server = server
        self.exchange = Exchange(server.authority, patience, ping, lost, self._over)
        self._loop = asyncio.get_running_loop()
        self._stream: Stream
        self._layers: list[Any]
        self._stream, self._layers = stream.layers()
        self._posted = False
        self._timer: asyncio.TimerHandle | None = None
        self._deadlines = Deadlines(self.exchange.waits, self._late)

    def begin(self, unread: bytes) -> None:
        """Serve from now on; some bytes have come already."""
        self.exchange.received(unread)
        self._receive(b"")
        if not self.exchange.ended:
            self._tick()
            self._stream.listen(self._receive, self._lose)

    async def keep(self) -> None:
        """Nobody has to read; threads are different there."""

    async def ask(self, operation: Operation, request: bytes, bound: float, tag: object) -> Outcome | None:
        """The outcome of a request; None if it cannot be asked here."""
        began = time.monotonic()
        waiter = Waiter(tag, self._loop)
        seq = self.exchange.ask(operation, request, waiter)
        if not seq:
            return self.exchange.outcome_of_end()
        if not self._posted:
            self._post()
        if bound != math.inf:
            self._deadlines.add(began + bound, seq)
        outcome: Outcome | None = None
        try:
            outcome = await waiter.outcome
        finally:
            if type(outcome) is not Answer:
                self.exchange.forget(seq)
        return self.exchange.late(seq, began) if outcome is None else outcome

    async def ask_all(
        self, operation: Operation, requests: Sequence[bytes], bound: float, tag: object
    ) -> list[Outcome]:
        """Ask in one message; the outcomes in the same order."""
        began = time.monotonic()
        waiters = [Waiter(tag, self._loop) for _ in requests]
        asked = list(zip(waiters, self.exchange.ask_all(operation, requests, waiters), strict=True))
        self._post()
        for _, seq in asked:
            self._deadlines.add(began + bound, seq)
        outcomes: list[Outcome] = []
        try:
            for waiter, seq in asked:
                outcome = await waiter.outcome if seq else self.exchange.outcome_of_end()
                outcomes.append(self.exchange.late(seq, began) if outcome is None else outcome)
        finally:
            for _, seq in asked:
                self.exchange.forget(seq)
        return outcomes

    def _late(self, seq: int) -> None:
        waits = self.exchange.waits(seq)
        if isinstance(waits, Waiter):
            waits.give(None)

    def end(self, tag: object) -> None:
        """End the request of this tag; tasks are cancelled instead."""

    def give_up(self) -> None:
        """End it from anywhere, without a word to the server."""
        try:
            self._loop.call_soon_threadsafe(self.exchange.end, "was left")
        except RuntimeError:  # the loop was closed, and the connection with it
            pass

    def _post(self) -> None:
        if not self._posted:
            self._posted = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        self._posted = False
        data = self.exchange.take_out()
        if not data:
            return
        try:
            for layer in reversed(self._layers):
                data = layer.sealed(data)
        except NetworkError as error:
            self._lose(error)
            return
        self._stream.send(data)

    def _receive(self, data: bytes) -> None:
        try:
            for layer in self._layers:
                data = layer.opened(data)
        except NetworkError as error:
            self._lose(error)
            return
        if data:
            self.exchange.received(data)
        if self.exchange.waits_to_be_sent():
            self._post()

    def _lose(self, error: NetworkError) -> None:
        self.exchange.end(str(error))

    def _tick(self) -> None:
        again = self.exchange.tick()
        if not self.exchange.ended:
            self._timer = self._loop.call_later(again, self._tick)
            if self.exchange.waits_to_be_sent():
                self._post()

    def _over(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._deadlines.end()
        self._send()
        self._stream.close()
