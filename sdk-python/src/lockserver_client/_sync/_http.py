# Generated from src/lockserver_client/_async/_http.py by tools/generate.py; change that one.
"""HTTP/1.1 with one server: one request at a time on a connection, idle ones kept."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import NamedTuple

from .._contract import Operation
from .._outcome import Answer, Failure, NetworkError, Outcome, closed, late
from .._retry import Bounds
from .._settings import Address, Settings
from .._version import __version__
from ._backend import Stream, resolve
from ._tls import AnyStream, Tls
from ._transport import Attempt, Body

_KEPT = 256
_KEPT_SECONDS = 30.0
_LARGEST_HEAD = 1 << 16
_STATUS_LINE = re.compile(rb"HTTP/1\.([01]) ([1-9]\d\d)(?: [^\r\n]*)?(?:\r\n|$)")
_HEADERS = re.compile(
    rb"(?i)\n(connection|content-length|content-type|retry-after|sec-websocket-accept|sec-websocket-protocol|transfer-encoding):"
    rb"[ \t]*([^\r\n]*[^\s])"
)
_EVENTS = b"text/event-stream"
_CHUNK_SIZE = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(?:;.*)?")


class Http:
    """Never limits how many connections there are, so that parked waits cannot starve a release or renewal."""

    def __init__(self, settings: Settings, bounds: Bounds, address: Address) -> None:
        self._settings = settings
        self._address = address
        self._bounds = bounds
        self._head = (
            f" HTTP/1.1\r\nHost: {address.authority}\r\nUser-Agent: lockserver-client-python/{__version__}\r\n"
            f"X-LOCKSERVER-SECRET: {settings.secret}\r\nContent-Type: application/json\r\nContent-Length: "
        ).encode("latin-1")
        self._starts: dict[Operation, bytes] = {}
        self._mutex = threading.Lock()
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._closed = False

    def send(self, operation: Operation, attempt: Attempt, *, again: bool = False, tag: object = None) -> Outcome:
        """Send one request and read its answer; `again` wants a new connection."""
        request, bound = attempt(False)
        end = time.monotonic() + bound
        connection: _Connection | None = None
        usable = sending = False
        try:
            connection = None if again else self._take()
            if connection is None:
                connection = self._connect(min(self._bounds.connect, bound))
            connection.tag = tag
            with self._mutex:
                self._busy.add(connection)
                refused = self._closed and tag is not None
            if refused:
                return Failure("the client was closed", False)
            sending = True
            answer, usable = connection.exchange(self._request(operation, request), operation.answer_max, end)
            return answer
        except NetworkError as error:
            given_up = connection is not None and connection.given_up
            sent = sending and not error.unsent
            return Failure(str(error), sent, error.permanent and not sent, error.late, given_up=given_up)
        finally:
            if connection is not None:
                self._put_back(connection, usable)

    def follow(self, operation: Operation, attempt: Attempt, last: str, tag: object) -> tuple[Outcome, Body | None]:
        """Ask for a stream of events behind the last one, on a connection of its own."""
        query, bound = attempt(False)
        end = time.monotonic() + bound
        connection: _Connection | None = None
        body: Body | None = None
        sending = False
        try:
            connection = self._connect(min(self._bounds.connect, bound))
            connection.tag = tag
            with self._mutex:
                self._busy.add(connection)
                closed = self._closed
            if closed:
                return Failure("the client was closed", False), None
            sending = True
            outcome, body = connection.follow(self._question(operation, query, last), operation, end, self._done)
            return outcome, body
        except NetworkError as error:
            given_up = connection is not None and connection.given_up
            why = str(error)
            return Failure(why, sending, error.permanent and not sending, error.late, given_up=given_up), None
        finally:
            if connection is not None and body is None:
                self._done(connection)

    def _question(self, operation: Operation, query: bytes, last: str) -> bytes:
        target = f"{operation.method} {self._address.prefix}{operation.path}?".encode("latin-1")
        head = self._head[: self._head.index(b"Content-Type")]
        behind = f"Last-Event-ID: {last}\r\n".encode() if last else b""
        return b"%b%b%bAccept: text/event-stream\r\n%b\r\n" % (target, query, head, behind)

    def _done(self, connection: _Connection) -> None:
        self._put_back(connection, False)

    def upgrade(self, path: str, more: str, bound: float, most: int, tag: object) -> Upgrade:
        """Ask for another protocol on a connection of its own, or raise NetworkError."""
        end = time.monotonic() + bound
        connection = self._connect(min(self._bounds.connect, bound))
        connection.tag = tag
        with self._mutex:
            self._busy.add(connection)
            closed = self._closed
        kept = False
        try:
            if closed:
                raise NetworkError("the client was closed")
            target = f"GET {self._address.prefix}{path}".encode("latin-1")
            head = self._head[: self._head.index(b"Content-Type")]
            upgrade = connection.upgrade(b"%b%b%b\r\n" % (target, head, more.encode("latin-1")), most, end)
            kept = upgrade.stream is not None
            return upgrade
        finally:
            with self._mutex:
                self._busy.discard(connection)
            if not kept:
                connection.stream.close()

    def end(self, tag: object) -> None:
        """End the request of this tag."""
        with self._mutex:
            connections = [connection for connection in self._busy if connection.tag is tag]
        for connection in connections:
            connection.given_up = True
            connection.stream.end()

    def close(self) -> None:
        """End requests with a tag, close idle connections, and others as soon as their answer is there."""
        with self._mutex:
            self._closed = True
            idle, self._idle = self._idle, []
            busy = [connection for connection in self._busy if connection.tag is not None]
        for connection in busy:
            connection.stream.end()
        for connection in idle:
            connection.stream.close()

    def _request(self, operation: Operation, body: bytes) -> bytes:
        """Head and body in one piece, so that they leave in one packet."""
        start = self._starts.get(operation)
        if start is None:
            target = f"{operation.method} {self._address.prefix}{operation.path}"
            start = self._starts[operation] = target.encode("latin-1") + self._head
        return b"%b%d\r\n\r\n%b" % (start, len(body), body)

    def _take(self) -> _Connection | None:
        while True:
            with self._mutex:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if time.monotonic() - connection.since < _KEPT_SECONDS and connection.stream.quiet():
                return connection
            connection.stream.close()

    def _put_back(self, connection: _Connection, usable: bool) -> None:
        with self._mutex:
            self._busy.discard(connection)
            kept = usable and not self._closed and len(self._idle) < _KEPT
            if kept:
                connection.since = time.monotonic()
                self._idle.append(connection)
        if not kept:
            connection.stream.close()

    def _connect(self, bound: float) -> _Connection:
        address, proxy, tls = self._address, self._settings.proxy, self._settings.tls
        end = time.monotonic() + bound
        stream: AnyStream | None = None
        if self._settings.certificate is not None:
            self._settings.certificate.refresh()
        try:
            if proxy is None:
                stream = self._reach(address, address.authority, end)
            else:
                peer = f"the proxy {proxy.address.authority}"
                stream = self._reach(proxy.address, peer, end)
                if proxy.address.tls:
                    assert tls is not None
                    stream = Tls.over(stream, tls, proxy.address.host, peer, end)
                _Connection(stream).tunnel(address.authority, proxy.authorization, end)
                stream.peer = address.authority
            if address.tls:
                assert tls is not None
                stream = Tls.over(stream, tls, address.host, address.authority, end)
            return _Connection(stream)
        except BaseException:
            if stream is not None:
                stream.close()
            raise

    def _reach(self, address: Address, peer: str, end: float) -> AnyStream:
        """Try the name's addresses in turn, each for its share of the time, so that a dead one cannot use it all up."""
        targets = resolve(address.host, address.port, peer, end)
        failure = NetworkError(f"{peer}: the name has no address")
        for tried, target in enumerate(targets):
            now = time.monotonic()
            try:
                return Stream.open(target, peer, now + (end - now) / (len(targets) - tried))
            except NetworkError as error:
                failure = error
        raise failure


class Upgrade(NamedTuple):
    """What came of the request for another protocol."""

    answer: Answer
    headers: dict[bytes, bytes]
    stream: AnyStream | None
    """Where the protocol is spoken from now on, if the answer was 101,"""
    unread: bytes
    """and what has come of it already."""


class _Body:
    """The body of an answer that goes on, until that or its connection ends."""

    def __init__(
        self, connection: _Connection, headers: dict[bytes, bytes], done: Callable[[_Connection], None]
    ) -> None:
        self.peer = connection.stream.peer
        self._connection = connection
        self._done = done
        coding, length = headers.get(b"transfer-encoding"), headers.get(b"content-length")
        self._chunked = coding is not None
        self._left = 0 if self._chunked else int(length) if length is not None and length.isdigit() else None
        """Of the chunk, or of the whole; None: as long as the connection lasts."""

    def read(self, end: float) -> bytes:
        """Some bytes, or none at its end."""
        connection = self._connection
        if self._chunked and not self._left:
            self._left = connection.chunk(end)
        if self._left == 0:
            return b""
        data = connection.piece(self._left, end)
        if self._left is not None:
            self._left -= len(data)
        if self._chunked and not self._left:
            connection.end_chunk(end)
        return data

    def close(self) -> None:
        """Close its connection."""
        self._done(self._connection)


class _Connection:
    """Asks and reads answers, never more of one than is allowed."""

    __slots__ = ("_buffer", "given_up", "since", "stream", "tag")

    def __init__(self, stream: AnyStream) -> None:
        self.stream = stream
        self.tag: object = None
        self.given_up = False
        self.since = 0.0
        self._buffer = b""

    def exchange(self, request: bytes, most: int, end: float) -> tuple[Answer, bool]:
        """The answer, and whether the connection can serve another."""
        self.stream.write(request, end)
        return self._answer(*self._head(end), most, end)

    def upgrade(self, request: bytes, most: int, end: float) -> Upgrade:
        self.stream.write(request, end)
        status, headers, reusable = self._head(end, switching=True)
        if status == 101:
            return Upgrade(Answer(status, b"", peer=self.stream.peer), headers, self.stream, self._buffer)
        answer, _ = self._answer(status, headers, reusable, most, end)
        return Upgrade(answer, headers, None, b"")

    def follow(
        self, request: bytes, operation: Operation, end: float, done: Callable[[_Connection], None]
    ) -> tuple[Answer, Body | None]:
        """The answer, and its body if that goes on."""
        self.stream.write(request, end)
        status, headers, reusable = self._head(end)
        if status == 200 and headers.get(b"content-type", b"").partition(b";")[0].strip().lower() == _EVENTS:
            body = _Body(self, headers, done)
            return Answer(status, b"", peer=self.stream.peer, goes_on=True), body
        return (self._answer(status, headers, reusable, operation.answer_max, end))[0], None

    def _answer(
        self, status: int, headers: dict[bytes, bytes], reusable: bool, most: int, end: float
    ) -> tuple[Answer, bool]:
        body: bytes | None = b""
        if status not in (204, 304):
            coding, length = headers.get(b"transfer-encoding"), headers.get(b"content-length")
            if coding is not None:
                if coding.lower() != b"chunked":
                    raise self._no_http("another transfer coding than chunked")
                body = self._chunks(most, end)
                reusable = reusable and length is None
            elif length is not None:
                if not length.isdigit() or len(length) > 18:
                    raise self._no_http("a length that is none")
                body = self._bytes(int(length), end) if int(length) <= most else None
            else:
                body, reusable = self._rest(most, end), False
        retry_after = headers.get(b"retry-after")
        after = None if retry_after is None else retry_after.decode("latin-1")
        answer = Answer(status, body, after, peer=self.stream.peer)
        return answer, reusable and body is not None and not self._buffer

    def tunnel(self, target: str, authorization: str | None, end: float) -> None:
        """Have a proxy connect this stream with the server, or raise NetworkError."""
        credentials = "" if authorization is None else f"Proxy-Authorization: {authorization}\r\n"
        head = f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{credentials}\r\n"
        self.stream.write(head.encode("latin-1"), end)
        status, _, _ = self._head(end)
        if not 200 <= status < 300:
            hint = ": does it want another user name and password?" if status == 407 else ""
            message = f"{self.stream.peer} answered {status} when asked for a way to {target}{hint}"
            raise NetworkError(message, permanent=status not in (502, 503, 504))
        if self._buffer:
            raise self._no_http("more than an answer")

    def _head(self, end: float, *, switching: bool = False) -> tuple[int, dict[bytes, bytes], bool]:
        """Status, headers with their names in lower case, and whether the connection stays open."""
        while True:
            head = self._until(b"\r\n\r\n", end)
            first = _STATUS_LINE.match(head)
            if first is None:
                raise self._no_http("another first line than HTTP's")
            status = int(first[2])
            if status >= 200 or (switching and status == 101):
                break
        headers: dict[bytes, bytes] = {}
        for name, value in _HEADERS.findall(head):
            name = name.lower()
            if name == b"content-length" and headers.get(name, value) != value:
                raise self._no_http("two lengths")
            headers[name] = value
        connection = headers.get(b"connection", b"").lower()
        return status, headers, connection == b"keep-alive" if first[1] == b"0" else b"close" not in connection

    def _chunks(self, most: int, end: float) -> bytes | None:
        body = b""
        while True:
            length = self.chunk(end)
            if len(body) + length > most:
                return None
            if length == 0:
                while self._until(b"\r\n", end):
                    pass
                return body
            body += self._bytes(length, end)
            self.end_chunk(end)

    def chunk(self, end: float) -> int:
        """The size of the next chunk."""
        size = _CHUNK_SIZE.fullmatch(self._until(b"\r\n", end))
        if size is None:
            raise self._no_http("a chunk without a size")
        return int(size[1], 16)

    def end_chunk(self, end: float) -> None:
        if self._until(b"\r\n", end):
            raise self._no_http("a chunk of another size")

    def piece(self, most: int | None, end: float) -> bytes:
        """Some bytes; none at the end of the connection, if that is how a body ends."""
        if not self._buffer and most is None:
            return self.stream.read(end)
        if not self._buffer:
            self._more(end)
        data, self._buffer = self._buffer[:most], self._buffer[len(self._buffer[:most]) :]
        return data

    def _bytes(self, length: int, end: float) -> bytes:
        while len(self._buffer) < length:
            self._more(end)
        data, self._buffer = self._buffer[:length], self._buffer[length:]
        return data

    def _rest(self, most: int, end: float) -> bytes | None:
        while len(self._buffer) <= most:
            data = self.stream.read(end)
            if not data:
                return self._buffer
            self._buffer += data
        return None

    def _until(self, mark: bytes, end: float) -> bytes:
        while (at := self._buffer.find(mark)) < 0:
            if len(self._buffer) > _LARGEST_HEAD:
                raise self._no_http(f"a head larger than {_LARGEST_HEAD} bytes")
            self._more(end)
        data, self._buffer = self._buffer[:at], self._buffer[at + len(mark) :]
        return data

    def _more(self, end: float) -> None:
        if time.monotonic() > end:
            raise late(self.stream.peer)
        data = self.stream.read(end)
        if not data:
            raise closed(self.stream.peer)
        self._buffer += data

    def _no_http(self, what: str) -> NetworkError:
        return NetworkError(f"{self.stream.peer} sent {what}: is this the address of a lockserver?")
