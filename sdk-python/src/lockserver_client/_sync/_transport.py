"""HTTP/1.1 over sockets with http.client as its parser: one request at a time on a connection, idle ones kept."""

from __future__ import annotations

import http.client
import io
import select
import socket
import threading
import time
import weakref
from typing import Any, cast

from .._retry import Bounds
from .._settings import Settings
from .._wire import LARGEST_ANSWER, Answer, RequestHeads, TransportError, explain, hopeless, too_large

_KEPT = 256
_KEPT_SECONDS = 30.0


def require() -> None:
    """Nothing beyond the standard library is needed here."""


class Transport:
    """Never limits how many connections there are, so that parked waits cannot starve a release or renewal."""

    def __init__(self, settings: Settings, bounds: Bounds) -> None:
        self._settings = settings
        self._bounds = bounds
        self._heads = RequestHeads(settings)
        self._mutex = threading.Lock()
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._closed = False
        # Clients need not be closed: the original's users never did, and get no ResourceWarning for it.
        weakref.finalize(self, _close_all, self._idle).atexit = False

    def post(self, path: str, body: bytes, *, bound: float, fresh: bool = False, tag: object = None) -> Answer:
        """Send one request and read its answer within `bound` seconds, or raise TransportError.

        `fresh` wants a new connection; `tag` names a request that `abort` may end.
        """
        end = time.monotonic() + bound
        connection = None if fresh else self._take()
        if connection is None:
            connection = self._connect(min(self._bounds.connect, bound))
        connection.tag = tag
        with self._mutex:
            self._busy.add(connection)
            late = self._closed and tag is not None
        usable = False
        try:
            if late:
                raise TransportError("the client was closed", sent=False)
            answer, usable = connection.exchange(self._heads.request(path, body), end)
        except (OSError, ValueError, http.client.HTTPException) as error:
            why = "no answer in time" if isinstance(error, TimeoutError) else explain(error)
            raise TransportError(f"{self._settings.address}{path}: {why}", sent=True) from error
        finally:
            with self._mutex:
                self._busy.discard(connection)
                kept = usable and not self._closed and len(self._idle) < _KEPT
                if kept:
                    connection.since = time.monotonic()
                    self._idle.append(connection)
            if not kept:
                connection.close()
        return answer

    def abort(self, tag: object) -> None:
        """End the request of this tag."""
        with self._mutex:
            for connection in self._busy:
                if connection.tag is tag:
                    connection.shutdown()

    def close(self) -> None:
        """End requests with a tag, close idle connections, and others as soon as their answer is there."""
        with self._mutex:
            self._closed = True
            idle = self._idle[:]
            self._idle.clear()
            for connection in self._busy:
                if connection.tag is not None:
                    connection.shutdown()
        _close_all(idle)

    def _take(self) -> _Connection | None:
        while True:
            with self._mutex:
                if not self._idle:
                    return None
                connection = self._idle.pop()
            if time.monotonic() - connection.since < _KEPT_SECONDS and connection.quiet():
                return connection
            connection.close()

    def _connect(self, bound: float) -> _Connection:
        """Try the name's addresses in turn, each for its share of the time, so that a dead one cannot use it all up."""
        address = self._settings.address
        end = time.monotonic() + bound
        error: Exception = OSError("the name has no address")
        try:
            targets = self._resolve(bound)
            for tried, (family, kind, protocol, _, target) in enumerate(targets):
                share = (end - time.monotonic()) / (len(targets) - tried)
                try:
                    return _Connection(self._open(family, kind, protocol, target, time.monotonic() + share))
                except OSError as failure:
                    error = failure
        except (OSError, ValueError) as failure:
            error = failure
        why = f"no connection within {bound:.3g} s" if isinstance(error, TimeoutError) else explain(error)
        raise TransportError(f"{address}: {why}", sent=False, hopeless=hopeless(error)) from error

    def _resolve(self, bound: float) -> list[Any]:
        host, port = self._settings.address.host, self._settings.address.port
        try:
            return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
        except socket.gaierror:
            pass
        # The system's resolver knows no time limit, so a thread waits for it that can be left behind.
        found: list[Any] = []

        def resolve() -> None:
            try:
                found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
            except OSError as error:
                found.append(error)

        thread = threading.Thread(target=resolve, name="lockserver-resolve", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            resolve()  # the process is at its limit, or about to exit: without the bound, then
        else:
            thread.join(bound)
        if not found:
            raise TimeoutError
        if isinstance(found[0], OSError):
            raise found[0]
        return list(found[0])

    def _open(self, family: int, kind: int, protocol: int, target: Any, end: float) -> socket.socket:
        sock = socket.socket(family, kind, protocol)
        try:
            sock.settimeout(max(end - time.monotonic(), 0.001))
            sock.connect(target)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._settings.tls is not None:
                sock.settimeout(max(end - time.monotonic(), 0.001))
                return self._settings.tls.wrap_socket(sock, server_hostname=self._settings.address.host)
        except BaseException:
            sock.close()
            raise
        return sock


def _close_all(connections: list[_Connection]) -> None:
    for connection in connections:
        connection.close()


class _Connection:
    """A socket whose every operation is bounded by the end of the exchange that it is part of."""

    def __init__(self, sock: socket.socket) -> None:
        self.tag: object = None
        self.since = 0.0
        self._sock = sock
        self._end = 0.0
        self._size = 0
        self._poll: Any = None
        if hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(sock, select.POLLIN)

    def exchange(self, request: bytes, end: float) -> tuple[Answer, bool]:
        """The answer, and whether the connection can serve another."""
        self._end = end
        self._size = 0
        self._limit()
        self._sock.sendall(request)
        response = http.client.HTTPResponse(cast(socket.socket, self), method="POST")
        try:
            response.begin()
            # http.client would set aside at once whatever length the other side claims.
            if (response.length or 0) > LARGEST_ANSWER:
                raise http.client.HTTPException(too_large())
            body = response.read(LARGEST_ANSWER) if response.chunked else response.read()
            return Answer(response.status, response.getheader("Retry-After"), body), not response.will_close
        finally:
            response.close()

    def quiet(self) -> bool:
        """Whether an idle connection is still open: the other side has neither closed it nor sent anything."""
        if self._poll is not None:
            return not self._poll.poll(0)
        return not select.select([self._sock], [], [], 0)[0]

    def shutdown(self) -> None:
        """End an exchange that runs in another thread."""
        try:
            # An SSLSocket's own shutdown takes TLS off first: the other thread would go on in the clear, or fail oddly.
            socket.socket.shutdown(self._sock, socket.SHUT_RDWR)
        except OSError:  # it has ended by itself
            pass

    def close(self) -> None:
        self._sock.close()

    def makefile(self, mode: str) -> io.BufferedReader:
        """What http.client reads an answer from."""
        return io.BufferedReader(_Reader(self))

    def read_into(self, buffer: Any) -> int:
        self._limit()
        size = self._sock.recv_into(buffer)
        self._size += size
        if self._size > LARGEST_ANSWER:
            raise http.client.HTTPException(too_large())
        return size

    def _limit(self) -> None:
        left = self._end - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)


class _Reader(io.RawIOBase):
    def __init__(self, connection: _Connection) -> None:
        self._connection = connection

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        return self._connection.read_into(buffer)
