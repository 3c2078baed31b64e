"""TLS over a stream, which may itself be one: so a tunnel through an https:// proxy is nothing special."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Callable
from typing import Any

from .._outcome import NetworkError, closed, network_error, of_handler
from ._backend import Stream


class AsyncTls:
    """A stream like the one below it."""

    __slots__ = ("_below", "_in", "_mutex", "_out", "_ssl", "peer")

    def __init__(self, below: AsyncAnyStream, context: ssl.SSLContext, host: str, peer: str) -> None:
        self.peer = peer
        self._below = below
        self._mutex = threading.Lock()
        """OpenSSL does not allow two threads in one connection."""
        self._in, self._out = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._ssl = context.wrap_bio(self._in, self._out, server_hostname=host)

    @classmethod
    async def over(cls, below: AsyncAnyStream, context: ssl.SSLContext, host: str, peer: str, end: float) -> AsyncTls:
        """Make both sides agree, or raise NetworkError."""
        try:
            tls = cls(below, context, host, peer)
        except (OSError, ValueError) as error:
            if of_handler(error):
                raise
            raise network_error(error, peer) from error
        await tls._run(end, tls._ssl.do_handshake)
        return tls

    async def read(self, end: float) -> bytes:
        return bytes(await self._run(end, self._ssl.read, 65536))

    async def write(self, data: bytes, end: float) -> None:
        await self._run(end, self._ssl.write, data)

    def quiet(self) -> bool:
        return self._below.quiet()

    def end(self) -> None:
        self._below.end()

    def close(self) -> None:
        self._below.close()

    def layers(self) -> tuple[Stream, list[AsyncTls]]:
        """The connection and what lies over it, for one who reads and writes there at the same time."""
        stream, below = self._below.layers()
        return stream, [*below, self]

    def opened(self, data: bytes) -> bytes:
        """What came, in the clear; NetworkError if it has ended, or is not what it should be."""
        clear = bytearray()
        with self._mutex:
            self._in.write(data)
            try:
                while piece := self._ssl.read(65536):
                    clear += piece
            except ssl.SSLWantReadError:
                return bytes(clear)
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                pass
            except OSError as error:
                if of_handler(error):
                    raise
                raise network_error(error, self.peer) from error
        if clear:
            return bytes(clear)
        raise closed(self.peer)

    def sealed(self, data: bytes) -> bytes:
        """What is to be sent, as it is sent."""
        with self._mutex:
            try:
                self._ssl.write(data)
            except OSError as error:
                if of_handler(error):
                    raise
                raise network_error(error, self.peer) from error
            return self._out.read()

    async def _run(self, end: float, step: Callable[..., Any], *args: Any) -> Any:
        """Take a step of TLS, carrying to and fro what it needs."""
        while True:
            result, failure, waits = None, None, False
            try:
                result = step(*args)
            except ssl.SSLWantReadError:
                waits = True
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                result, failure = b"", None if step == self._ssl.read else closed(self.peer)
            except OSError as error:
                if of_handler(error):
                    raise
                failure = network_error(error, self.peer)
                failure.__cause__ = error
            try:
                if to_send := self._out.read():
                    await self._below.write(to_send, end)
            except NetworkError:
                if failure is None:
                    raise
            if failure is not None:
                raise failure
            if not waits:
                return result
            if data := await self._below.read(end):
                self._in.write(data)
            else:
                self._in.write_eof()


AsyncAnyStream = Stream | AsyncTls
