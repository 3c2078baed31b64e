"""HTTP/1.1 over asyncio with httptools as its parser: one request at a time on a connection, idle ones kept."""

from __future__ import annotations

import asyncio
import socket
import time
from typing import Any

from .._retry import Bounds
from .._settings import Settings
from .._wire import LARGEST_ANSWER, Answer, RequestHeads, TransportError, explain, hopeless, too_large

try:
    import httptools
except ImportError:  # pragma: no cover - the package without its extra
    httptools = None  # type: ignore[assignment]

_KEPT = 256
_KEPT_SECONDS = 30.0


def require() -> None:
    """Raise a clear error where the extra of the async client is not installed."""
    if httptools is None:
        raise ImportError(
            "AsyncLockserverClient needs the package httptools: pip install 'lockserver-client[async]' "
            "(LockserverClient works without it)"
        )


class Transport:
    """Never limits how many connections there are, so that parked waits cannot starve a release or renewal."""

    def __init__(self, settings: Settings, bounds: Bounds) -> None:
        self._settings = settings
        self._bounds = bounds
        self._heads = RequestHeads(settings)
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._closed = False

    async def post(self, path: str, body: bytes, *, bound: float, fresh: bool = False, tag: object = None) -> Answer:
        """Send one request and read its answer within `bound` seconds, or raise TransportError.

        `fresh` wants a new connection; `tag` names a request that `abort` may end.
        """
        end = time.monotonic() + bound
        connection = None if fresh else self._take()
        if connection is None:
            connection = await self._connect(min(self._bounds.connect, bound))
        connection.tag = tag
        self._busy.add(connection)
        try:
            if self._closed and tag is not None:
                raise TransportError("the client was closed", sent=False)
            answer = await connection.exchange(self._heads.request(path, body), path, end)
        except BaseException:
            connection.abort()
            raise
        finally:
            self._busy.discard(connection)
        if self._closed or not connection.usable or len(self._idle) >= _KEPT:
            connection.abort()
        else:
            connection.since = time.monotonic()
            self._idle.append(connection)
        return answer

    def abort(self, tag: object) -> None:
        """End the request of this tag."""
        for connection in list(self._busy):
            if connection.tag is tag:
                connection.fail("given up")

    def close(self) -> None:
        """End requests with a tag, close idle connections, and others as soon as their answer is there."""
        self._closed = True
        for connection in list(self._busy):
            if connection.tag is not None:
                connection.fail("the client was closed")
        while self._idle:
            self._idle.pop().abort()

    def _take(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.usable and time.monotonic() - connection.since < _KEPT_SECONDS:
                return connection
            connection.abort()
        return None

    async def _connect(self, bound: float) -> _Connection:
        address = self._settings.address
        try:
            async with asyncio.timeout(bound):
                return await self._connect_any(time.monotonic() + bound)
        except TimeoutError:
            raise TransportError(f"{address}: no connection within {bound:.3g} s", sent=False) from None
        except (OSError, ValueError) as error:
            raise TransportError(f"{address}: {explain(error)}", sent=False, hopeless=hopeless(error)) from error

    async def _connect_any(self, end: float) -> _Connection:
        """Try the name's addresses in turn, each for its share of the time, so that a dead one cannot use it all up."""
        targets = await self._resolve()
        error: OSError = OSError("the name has no address")
        for tried, (family, kind, protocol, _, target) in enumerate(targets):
            share = (end - time.monotonic()) / (len(targets) - tried)
            try:
                async with asyncio.timeout(share):
                    return await self._open(family, kind, protocol, target)
            except OSError as failure:
                error = failure
        raise error

    async def _resolve(self) -> list[Any]:
        host, port = self._settings.address.host, self._settings.address.port
        try:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)

    async def _open(self, family: int, kind: int, protocol: int, target: Any) -> _Connection:
        loop = asyncio.get_running_loop()
        address = self._settings.address
        connection = _Connection(str(address))
        sock = socket.socket(family, kind, protocol)
        try:
            sock.setblocking(False)
            await loop.sock_connect(sock, target)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except BaseException:
            sock.close()
            raise
        tls = self._settings.tls
        try:
            await loop.create_connection(
                lambda: connection, sock=sock, ssl=tls, server_hostname=address.host if tls else None
            )
        except BaseException:
            connection.abort()
            raise
        return connection


class _Connection(asyncio.Protocol):
    def __init__(self, label: str) -> None:
        self.tag: object = None
        self.since = 0.0
        self._label = label
        self.usable = True
        self._transport: asyncio.Transport | None = None
        self._answer: asyncio.Future[Answer] | None = None
        self._parser: Any = None
        self._size = 0
        self._status = 0
        self._length_known = False
        self._retry_after: str | None = None
        self._body: list[bytes] = []
        self._path = ""

    async def exchange(self, request: bytes, path: str, end: float) -> Answer:
        loop = asyncio.get_running_loop()
        transport = self._transport
        if transport is None or transport.is_closing():
            raise TransportError(f"{self._label}{path}: the connection was closed", sent=False)
        self._path = path
        answer: asyncio.Future[Answer] = loop.create_future()
        self._answer = answer
        self._parser = httptools.HttpResponseParser(self)
        self._size = 0
        transport.write(request)
        timer = loop.call_later(max(end - time.monotonic(), 0.0), self.fail, "no answer in time")
        try:
            return await answer
        finally:
            timer.cancel()
            self._answer = None

    def fail(self, why: str) -> None:
        self.usable = False
        if self._answer is not None and not self._answer.done():
            self._answer.set_exception(TransportError(f"{self._label}{self._path}: {why}", sent=True))

    def abort(self) -> None:
        self.usable = False
        if self._transport is not None:
            self._transport.abort()

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        if self._answer is None or self._answer.done():
            self.abort()
            return
        self._size += len(data)
        if self._size > LARGEST_ANSWER:
            self.fail(too_large())
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self.fail(f"not an HTTP answer ({error})")

    def connection_lost(self, error: Exception | None) -> None:
        if error is None and self._status >= 200 and not self._length_known:
            self._complete()  # an answer without a length ends with its connection
        self.fail(explain(error) if error else "the connection was closed before the answer")

    # httptools

    def on_message_begin(self) -> None:
        self._status, self._length_known, self._retry_after, self._body = 0, False, None, []

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        if name == b"retry-after":
            self._retry_after = value.decode("latin-1")
        elif name in (b"content-length", b"transfer-encoding"):
            self._length_known = True

    def on_headers_complete(self) -> None:
        self._status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        if self._status >= 200:
            self.usable = self.usable and self._parser.should_keep_alive()
            self._complete()

    def _complete(self) -> None:
        if self._answer is not None and not self._answer.done():
            self._answer.set_result(Answer(self._status, self._retry_after, b"".join(self._body)))
