"""The loop over what happens."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Callable
from urllib.parse import urlencode

from .._contract import EVENTS, Operation
from .._errors import ConnectionFailedError
from .._events import LINE_MAX, Event, Reader
from .._outcome import NetworkError, Outcome
from ._lock import AsyncHoldings
from ._retry import AsyncRetry
from ._transport import AsyncBody, AsyncTransport, Attempt

_EVENTS = EVENTS._replace(answer_max=LINE_MAX)


class _AsyncStreams:
    """Asks for streams of events."""

    body: AsyncBody | None = None

    def __init__(self, transport: AsyncTransport, reader: Reader) -> None:
        self._transport = transport
        self._reader = reader

    def addresses(self) -> int:
        """How many servers there are to be asked."""
        return self._transport.addresses()

    async def send(self, operation: Operation, attempt: Attempt, *, again: bool = False, tag: object = None) -> Outcome:
        """Ask for a stream that goes on behind the last event."""
        outcome, self.body = await self._transport.follow(operation, attempt, self._reader.last, tag)
        return outcome


async def watch(here: Callable[[], AsyncHoldings], prefix: str) -> AsyncIterator[Event]:
    """Ask again and again, as `client.watch` says."""
    link = here().link
    reader = Reader(link.bounds)
    streams = _AsyncStreams(link.transport, reader)
    retry = AsyncRetry(link, reader.left, sender=streams, tag=reader)
    query = urlencode({"prefix": prefix}).encode() if prefix else b""

    def attempt(_: bool) -> tuple[bytes, float]:
        return query, min(link.bounds.answer, max(reader.left(), 0.001))

    while True:
        await retry.send(_EVENTS, attempt)
        body = streams.body
        assert body is not None
        retry.progress()
        reader.begin()
        try:
            while data := await _read(body, reader.silence(), link.pid):
                for event in reader.read(data):
                    yield event
            retry.obstacle = f"{body.peer} closed the stream of events"
        except NetworkError as error:
            retry.obstacle = str(error)
        except ValueError as error:
            raise ConnectionFailedError(f"{body.peer} sent {error}") from None
        finally:
            body.close()
        await retry.pause(ConnectionFailedError(retry.obstacle))


async def _read(body: AsyncBody, end: float, pid: int) -> bytes:
    if pid != os.getpid():
        raise RuntimeError("this loop belongs to the process that this one was forked from")
    return await body.read(end)
