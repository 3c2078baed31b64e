"""How an exchange gets to the network, for threads. `_async/_wire.py` has the same names."""

from __future__ import annotations

import functools
import math
import os
import select
import socket
import threading
import time
from collections.abc import Sequence
from typing import Any

from .._contract import Operation
from .._exchange import Exchange, Lost
from .._outcome import Answer, Failure, NetworkError, Outcome, closed, network_error, of_handler
from .._settings import Address
from ._backend import Stream, Waiter, start
from ._tls import AnyStream

_KEEPER = object()
_LOOK = 0.05
_FORKED = Failure("the call was made in the process that this one was forked from", True, permanent=True)
_STALLED = 10.0
"""Seconds in which the other side has to take something of what is written."""


class Wire:
    """A session on its connection, shared by threads.

    Whoever asks and finds nobody writing writes all that is queued. Of those who wait, one reads for all: so a thread
    that is alone waits for nothing but the network, and no other thread has to wake it. The keeper, a daemon thread,
    answers pings, and reads while nobody waits; it steps back as long as others do.
    """

    def __init__(self, stream: AnyStream, server: Address, patience: float, ping: float, lost: Lost) -> None:
        self.server = server
        self.exchange = Exchange(server.authority, patience, ping, lost, self._over)
        self._peer = server.authority
        self._stream: Stream
        self._layers: list[Any]
        self._stream, self._layers = stream.layers()
        self._sock = self._stream.sock
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        self._reader: object = None
        self._taking = False
        """Whether the reader is past the point where it can be interrupted without a loss."""
        self._writer: object = None
        self._inside: set[int] = set()
        """The threads that ask."""
        self._led = False
        """Whether others than the keeper have begun to read since it looked last."""
        self._rouse = threading.Event()
        self._rouses = False
        """Whether the keeper is to be woken when nobody reads any more."""
        self._poll: Any = None
        if hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(self._sock, select.POLLIN)

    def begin(self, unread: bytes) -> None:
        """Serve from now on; some bytes have come already."""
        self._sock.setblocking(False)
        self.exchange.received(unread)
        self._take(b"")

    def ask(self, operation: Operation, request: bytes, bound: float, tag: object) -> Outcome | None:
        """The outcome of a request; None if it cannot be asked here."""
        thread = threading.get_ident()
        if thread in self._inside:
            return None  # a signal handler asks, within a call that cannot go on before it
        began = time.monotonic()
        waiter = Waiter(tag)
        seq = 0
        outcome: Outcome | None = None
        try:
            self._inside.add(thread)
            seq = self.exchange.ask(operation, request, waiter)
            if seq:
                self._write(waiter)
                outcome = self._wait(waiter, began + bound)
            else:
                outcome = self.exchange.outcome_of_end()
        finally:
            self._inside.discard(thread)
            forked = self._pid != os.getpid()
            # Whose answer was taken in is not waited for any more, and is reader only if it is already.
            if not forked and (type(outcome) is not Answer or self._reader is waiter or self._writer is waiter):
                self._leave(waiter, seq)
        if forked:
            return _FORKED
        return self.exchange.late(seq, began) if outcome is None else outcome

    def ask_all(self, operation: Operation, requests: Sequence[bytes], bound: float, tag: object) -> list[Outcome]:
        """Ask in one message; the outcomes in the same order."""
        thread = threading.get_ident()
        began = time.monotonic()
        waiters = [Waiter(tag) for _ in requests]
        seqs = [0] * len(waiters)
        outcomes: list[Outcome | None] = []
        try:
            self._inside.add(thread)
            seqs = self.exchange.ask_all(operation, requests, waiters)
            self._write(waiters[0])
            for waiter, seq in zip(waiters, seqs, strict=True):
                outcomes.append(self._wait(waiter, began + bound) if seq else self.exchange.outcome_of_end())
                self._hand_on(waiter)  # perhaps to the next one here
        finally:
            self._inside.discard(thread)
            if self._pid == os.getpid():
                for waiter, seq in zip(waiters, seqs, strict=True):
                    self._leave(waiter, seq)
        if self._pid != os.getpid():
            return [_FORKED] * len(waiters)
        return [
            self.exchange.late(seq, began) if outcome is None else outcome
            for outcome, seq in zip(outcomes, seqs, strict=True)
        ]

    def end(self, tag: object) -> None:
        """End the request of this tag."""
        for waiter in self.exchange.waiting():
            if waiter.tag is tag:
                waiter.give(Failure("given up", True, given_up=True))

    def give_up(self) -> None:
        """End it from anywhere, without a word to the server, and without a mutex, as garbage collection may ask."""
        if self._pid == os.getpid():
            self._stream.end()

    # Waiting

    def _wait(self, waiter: Waiter, end: float) -> Outcome | None:
        while waiter.outcome is None and (left := end - time.monotonic()) > 0:
            if self._reader is None:
                with self._mutex:
                    if self._reader is None:
                        self._reader, self._led = waiter, True
            if self._reader is not waiter:
                waiter.sleep(left)
            elif not self._read(left):
                break
        return waiter.outcome

    def _leave(self, waiter: Waiter, seq: int) -> None:
        self.exchange.forget(seq)
        if self._writer is waiter or (self._reader is waiter and self._taking):
            self.exchange.end("a signal interrupted the session")
        self._hand_on(waiter)

    def _hand_on(self, reader: object) -> None:
        """Let another read, if this one did."""
        with self._mutex:
            if self._reader is not reader:
                return
            successor = self._reader = self.exchange.first()
            rouse = successor is None and self._rouses
        if isinstance(successor, Waiter):
            successor.wake()
        elif rouse:
            self._rouse.set()

    # Reading

    def keep(self) -> None:
        """Read while nobody else does, until the session ends."""
        while not self.exchange.ended:
            pause = self.exchange.tick()
            if self.exchange.waits_to_be_sent():
                self._write(_KEEPER)
            with self._mutex:
                led, self._led = self._led, False
                if self._reader is None and not led:
                    self._reader = _KEEPER
                mine = self._reader is _KEEPER
                self._rouses = not mine and not led
            if mine:
                before = self.exchange.answers
                self._read(pause)
                if self.exchange.answers != before:
                    self._led = True
                    self._hand_on(_KEEPER)
            else:
                self._rouse.wait(min(pause, _LOOK) if led else pause)
                self._rouse.clear()
        with self._mutex:
            unused = self._reader is None or self._reader is _KEEPER
        if unused:
            self._stream.close()

    def _read(self, seconds: float) -> bool:
        """Take in what comes, if anything does; false in a forked child, which must not."""
        if self._poll is None:
            select.select([self._sock], [], [], None if seconds == math.inf else seconds)
        else:
            self._poll.poll(None if seconds == math.inf else math.ceil(seconds * 1000))
        if self._pid != os.getpid():
            return False
        self._taking = True
        try:
            data = self._sock.recv(65536)
            if data:
                self._take(data)
            else:
                self.exchange.end(str(closed(self._peer)))
        except BlockingIOError as error:
            if of_handler(error):
                raise
        except OSError as error:
            if of_handler(error):
                raise
            self.exchange.end(str(network_error(error, self._peer)))
        self._taking = False
        if self.exchange.waits_to_be_sent():
            self._write(self._reader)
        return True

    def _take(self, data: bytes) -> None:
        try:
            for layer in self._layers:
                data = layer.opened(data)
        except NetworkError as error:
            self.exchange.end(str(error))
            return
        if data:
            self.exchange.received(data)

    # Writing

    def _write(self, who: object) -> None:
        with self._mutex:
            if self._writer is not None:
                return
            self._writer = who
        self._send()

    def _send(self) -> None:
        """Write all that is queued. What cannot be written at once is left to a thread of its own."""
        while True:
            data = self._push(self._sealed(self.exchange.take_out()))
            if data:
                if start(functools.partial(self._send_slowly, data), "lockserver-write") is None:
                    self._send_slowly(data)
                return
            with self._mutex:
                if self.exchange.ended or not self.exchange.waits_to_be_sent():
                    self._writer = None
                    return

    def _send_slowly(self, data: bytes | memoryview) -> None:
        while data and not self.exchange.ended:
            left = len(data)
            _await_room(self._sock)
            data = self._push(data)
            if len(data) == left:
                self.exchange.end(f"no sign of life from {self._peer}")
        self._send()

    def _sealed(self, data: bytes) -> bytes:
        try:
            for layer in reversed(self._layers if data else []):
                data = layer.sealed(data)
        except NetworkError as error:
            self.exchange.end(str(error))
            return b""
        return data

    def _push(self, data: bytes | memoryview) -> bytes | memoryview:
        """Write what can be written at once; the rest."""
        try:
            while data:
                sent = self._sock.send(data)
                if sent == len(data):
                    break
                data = memoryview(data)[sent:]
        except BlockingIOError as error:
            if of_handler(error):
                raise
            return data
        except OSError as error:
            if of_handler(error):
                raise
            self.exchange.end(str(network_error(error, self._peer)))
        return b""

    def _over(self) -> None:
        with self._mutex:
            free = self._writer is None
            if free:
                self._writer = _KEEPER
        if free:
            self._push(self._sealed(self.exchange.take_out()))
        self._stream.end()
        self._rouse.set()


def _await_room(sock: socket.socket) -> None:
    """Wait until something can be written, but not for ever."""
    if hasattr(select, "poll"):
        poll = select.poll()
        poll.register(sock, select.POLLOUT)
        poll.poll(_STALLED * 1000)
    else:
        select.select([], [sock], [], _STALLED)
