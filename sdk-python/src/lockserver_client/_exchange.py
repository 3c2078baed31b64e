"""What is asked and answered in one session, without a socket: the same for tasks and for threads."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from ._contract import SESSION_ANSWERS, SESSION_MESSAGE, SESSION_PINGS, SESSION_REQUESTS, Operation
from ._frames import CLOSE, PING, PONG, TEXT, Frames, frame
from ._operations import decode
from ._outcome import Answer, Failure, Outcome

LARGEST_REQUEST = SESSION_MESSAGE // 4
"""A larger one is left to HTTP, whose answer it deserves."""
_NORMAL = (1000).to_bytes(2, "big")


Lost = Callable[[str, int, str], None]
"""Hears of a loss: resource, token, reason."""


class Waits(Protocol):
    """One who waits for an outcome."""

    tag: object

    def give(self, outcome: Outcome) -> None:
        """Hand it over; the first one counts."""


class Exchange:
    """Numbers requests, puts them into messages, and finds who waits for an answer.

    Args:
        peer: The server, for people.
        patience: Seconds without a sign of life after which nobody waits any longer.
        ping: Seconds of silence between two pings.
        lost: Hears of losses: resource, token, reason.
        over: Called once, when it has ended.
    """

    def __init__(self, peer: str, patience: float, ping: float, lost: Lost, over: Callable[[], None]) -> None:
        self.ended = ""
        """Why, once it has."""
        self.answers = 0
        """How many it has brought."""
        self._peer = peer
        self._patience = patience
        self._ping = ping
        self._lost = lost
        self._over = over
        self._mutex = threading.Lock()
        self._frames = Frames(SESSION_ANSWERS)
        self._seq = 0
        self._waiting: dict[int, Waits] = {}
        self._asked = self._heard = time.monotonic()
        self._sign = 0.0
        """The last sign of life, if there was one."""
        self._queue: list[bytes] = []
        self._sent = 0
        """Up to which number requests were taken out to be sent."""
        self._control = b""
        self._pings = 0
        self._finishing = False

    # Asking

    def ask(self, operation: Operation, request: bytes, who: Waits) -> int:
        """Queue a request; its number, or 0 if the session has ended."""
        with self._mutex:
            return self._add(operation, request, who)

    def ask_all(self, operation: Operation, requests: Sequence[bytes], who: Sequence[Waits]) -> list[int]:
        """Queue requests, so that they go out in one message; their numbers, as `ask` gives them."""
        with self._mutex:
            return [self._add(operation, *one) for one in zip(requests, who, strict=True)]

    def _add(self, operation: Operation, request: bytes, who: Waits) -> int:
        if self.ended:
            return 0
        self._seq = seq = self._seq + 1
        if not self._waiting:
            self._asked = time.monotonic()
        self._waiting[seq] = who
        members = b"}" if request == b"{}" else b",%b" % request[1:]
        self._queue.append(b'{"seq":%d,"op":"%b"%b' % (seq, operation.name.encode(), members))
        return seq

    def forget(self, seq: int) -> None:
        """Nobody waits for this answer any more."""
        with self._mutex:
            self._waiting.pop(seq, None)
        self._leave()

    def late(self, seq: int, began: float) -> Failure:
        """What becomes of a request that was asked at that moment and whose time has run out."""
        with self._mutex:
            heard, sign, unsent = self._heard, self._sign, seq > self._sent
        # Something would have come by now. If nothing at all did, another attempt deserves another connection.
        if heard < began and time.monotonic() - began >= 0.1:
            self.end(f"no sign of life from {self._peer}")
        return Failure(f"no answer from {self._peer} in time", not unsent, late=True, heard=sign)

    def outcome_of_end(self) -> Failure:
        return Failure(self.ended, False, heard=self._sign)

    def waits(self, seq: int) -> Waits | None:
        """Who waits for this answer, if anybody does."""
        return self._waiting.get(seq)

    def waiting(self) -> list[Waits]:
        """Those who wait, the longest first."""
        with self._mutex:
            return list(self._waiting.values())

    def first(self) -> Waits | None:
        """Who has waited the longest, if anybody waits."""
        with self._mutex:
            return next(iter(self._waiting.values()), None)

    def take_out(self) -> bytes:
        """All that is to be sent, as frames, or nothing. Taken out, it counts as sent."""
        with self._mutex:
            out, self._control = self._control, b""
            queue = self._queue
            if not queue:
                return out  # the list stays in use: another thread may append to it any moment
            self._queue, self._sent = [], self._seq
        size = count = begin = 0
        for at, request in enumerate(queue):
            size += len(request) + 1
            count += 1
            if size > SESSION_MESSAGE - 2 or count > SESSION_REQUESTS:
                out += _message(queue[begin:at])
                begin, size, count = at, len(request) + 1, 1
        return out + _message(queue[begin:])

    def waits_to_be_sent(self) -> bool:
        return bool(self._queue or self._control)

    # Hearing

    def received(self, data: bytes) -> None:
        """Take in what came."""
        try:
            for opcode, payload in self._frames.feed(data):
                if opcode == TEXT:
                    self._take(payload)
                elif opcode == PING:
                    self._control = frame(PONG, payload)  # the answer to the latest is enough
                elif opcode == CLOSE:
                    self._control = frame(CLOSE, payload[:2])
                    said = payload[2:].decode("utf-8", "replace")
                    return self.end(f"{self._peer} ended the session{f': {said}' if said else ''}")
        except ValueError as error:
            return self.end(f"{self._peer} sent {error}: is this the address of a lockserver?")
        self._heard = self._sign = time.monotonic()
        self._pings = 0
        return None

    def _take(self, payload: bytes) -> None:
        try:
            said = decode(payload.decode())
        except (ValueError, RecursionError):
            raise ValueError("a message that is no JSON") from None
        given: list[tuple[Waits, Answer]] = []
        losses: list[dict[str, Any]] = []
        with self._mutex:
            for one in said if isinstance(said, list) else (said,):
                if not isinstance(one, dict):
                    raise ValueError("a message without an object")  # noqa: TRY004
                seq, status = one.get("seq"), one.get("status")
                if type(seq) is int and type(status) is int:
                    who = self._waiting.pop(seq, None)
                    if who is not None:
                        given.append((who, Answer(status, b"", None, one, False, self, self._peer)))
                elif one.get("event") == "lost":
                    losses.append(one)
                elif "event" not in one:
                    raise ValueError("an answer to nothing")
        self.answers += len(given)
        for who, answer in given:
            who.give(answer)
        for loss in losses:
            self._tell(loss)
        self._leave()

    def _tell(self, event: dict[str, Any]) -> None:
        resource, token, reason = event.get("resource"), event.get("token"), event.get("reason")
        if isinstance(resource, str) and isinstance(token, int):
            self._lost(resource, token, str(reason))

    # Ending

    def tick(self) -> float:
        """Ping, or end, what is silent; how many seconds later to look again."""
        now = time.monotonic()
        with self._mutex:
            silent, waiting = now - self._heard, bool(self._waiting)
            in_vain = now - max(self._heard, self._asked)
            left = self._ping * (self._pings + 1) - silent
            if left <= 0 and self._pings < SESSION_PINGS:
                self._pings += 1
                self._control += frame(PING, b"")
                left += self._ping
        if left <= 0 or (waiting and in_vain >= self._patience):
            self.end(f"no sign of life from {self._peer}")
            return 0.0
        return min(left, self._patience - in_vain) if waiting else left

    def end(self, why: str) -> None:
        """End it. Whether requests that were sent had their effect is unknown."""
        with self._mutex:
            if self.ended:
                return
            self.ended = why
            waiting, self._waiting, self._queue = self._waiting, {}, []
        for seq, who in waiting.items():
            who.give(Failure(self.ended, seq <= self._sent, heard=self._sign))
        over, self._over = self._over, _nothing
        over()

    def finish(self) -> None:
        """End it as soon as nobody waits for an answer."""
        self._finishing = True
        self._leave()

    def _leave(self) -> None:
        with self._mutex:
            if not self._finishing or self._waiting or self.ended:
                return
            self._control = frame(CLOSE, _NORMAL)
        self.end("the client was closed")


def _nothing() -> None:
    pass


def _message(requests: list[bytes]) -> bytes:
    return frame(TEXT, requests[0] if len(requests) == 1 else b"[%b]" % b",".join(requests))
