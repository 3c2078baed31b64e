# Generated from src/lockserver_client/_async/_watch.py by tools/generate.py; change that one.
"""The loop over what happens."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from urllib.parse import urlencode

from .._contract import EVENTS, Operation
from .._errors import ConnectionFailedError
from .._events import LINE_MAX, Event, Reader
from .._outcome import NetworkError, Outcome
from ._lock import Holdings
from ._retry import Retry
from ._transport import Attempt, Body, Transport

_EVENTS = EVENTS._replace(answer_max=LINE_MAX)


class _AsyncStreams:
    """Asks for streams of events."""

    body: Body | None = None

    def __init__(self, transport: Transport, reader: Reader) -> None:
        self._transport = transport
        self._reader = reader

    def addresses(self) -> int:
        """How many servers there are to be asked."""
        return self._transport.addresses()

    def send(self, operation: Operation, attempt: Attempt, *, again: bool = False, tag: object = None) -> Outcome:
        """Ask for a stream that goes on behind the last event."""
        outcome, self.body = self._transport.follow(operation, attempt, self._reader.last, tag)
        return outcome


def watch(here: Callable[[], Holdings], prefix: str) -> Iterator[Event]:
    """Ask again and again, as `client.watch` says."""
    link = here().link
    reader = Reader(link.bounds)
    streams = _AsyncStreams(link.transport, reader)
    retry = Retry(link, reader.left, sender=streams, tag=reader)
    query = urlencode({"prefix": prefix}).encode() if prefix else b""

    def attempt(_: bool) -> tuple[bytes, float]:
        return query, min(link.bounds.answer, max(reader.left(), 0.001))

    while True:
        retry.send(_EVENTS, attempt)
        body = streams.body
        assert body is not None
        retry.progress()
        reader.begin()
        try:
            while data := _read(body, reader.silence(), link.pid):
                for event in reader.read(data):
                    yield event
            retry.obstacle = f"{body.peer} closed the stream of events"
        except NetworkError as error:
            retry.obstacle = str(error)
        except ValueError as error:
            raise ConnectionFailedError(f"{body.peer} sent {error}") from None
        finally:
            body.close()
        retry.pause(ConnectionFailedError(retry.obstacle))


def _read(body: Body, end: float, pid: int) -> bytes:
    if pid != os.getpid():
        raise RuntimeError("this loop belongs to the process that this one was forked from")
    return body.read(end)
