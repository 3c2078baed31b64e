"""Client CPU of one small POST on a kept connection, for each HTTP library that could carry the SDK.

`make bench-http` installs the candidates and runs this. The request is a renewal: it changes nothing that costs the
server more the longer it runs. All send the same bytes and read the same answer.
"""

from __future__ import annotations

import asyncio
import http.client
import json
import socket
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Coroutine
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

import aiohttp  # type: ignore[import-not-found,unused-ignore]
import h11  # type: ignore[import-not-found,unused-ignore]
import httpcore  # type: ignore[import-not-found,unused-ignore]
import httptools
import httpx  # type: ignore[import-not-found,unused-ignore]
import requests  # type: ignore[import-not-found,import-untyped,unused-ignore]
import urllib3  # type: ignore[import-not-found,unused-ignore]
from support.processes import SECRET, LockServer, build

CALLS, ROUNDS = 400, 7
HEADERS = {"X-LOCKSERVER-SECRET": SECRET, "Content-Type": "application/json"}
NO_DELAY = [(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)]


class Measured:
    def __init__(self, port: int, body: dict[str, Any]) -> None:
        self.url = f"http://127.0.0.1:{port}/renew"
        self.port = port
        self.body = body
        lines = [f"POST /renew HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n"]
        self.head = "".join(lines + [f"{name}: {value}\r\n" for name, value in HEADERS.items()]) + "Content-Length: "

    def text(self) -> bytes:
        return json.dumps(self.body).encode()

    def raw(self) -> bytes:
        text = self.text()
        return f"{self.head}{len(text)}\r\n\r\n".encode() + text

    def connect(self) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self.port))
        made.setsockopt(*NO_DELAY[0])
        return made

    def http_client(self) -> Callable[[], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port)

        def call() -> bytes:
            connection.request("POST", "/renew", self.text(), HEADERS)
            return connection.getresponse().read()

        return call

    def http_client_response(self) -> Callable[[], bytes]:
        sock = self.connect()

        def call() -> bytes:
            sock.sendall(self.raw())
            response = http.client.HTTPResponse(sock, method="POST")
            response.begin()
            return response.read()

        return call

    def h11_parts(self) -> tuple[Any, Callable[[], bytes], Callable[[bytes], bytes | None]]:
        state = h11.Connection(h11.CLIENT)
        parts: list[bytes] = []

        def request() -> bytes:
            text = self.text()
            headers = [("Host", "127.0.0.1"), *HEADERS.items(), ("Content-Length", str(len(text)))]
            head = state.send(h11.Request(method="POST", target="/renew", headers=headers))
            return bytes(head + state.send(h11.Data(text)) + state.send(h11.EndOfMessage()))

        def feed(data: bytes) -> bytes | None:
            state.receive_data(data)
            while (event := state.next_event()) is not h11.NEED_DATA:
                if type(event) is h11.Data:
                    parts.append(bytes(event.data))
                elif type(event) is h11.EndOfMessage:
                    state.start_next_cycle()
                    whole = b"".join(parts)
                    parts.clear()
                    return whole
            return None

        return state, request, feed

    def h11_socket(self) -> Callable[[], bytes]:
        sock = self.connect()
        _, request, feed = self.h11_parts()

        def call() -> bytes:
            sock.sendall(request())
            while (whole := feed(sock.recv(65536))) is None:
                pass
            return whole

        return call

    def urllib3_pool(self) -> Callable[[], bytes]:
        pool = urllib3.HTTPConnectionPool("127.0.0.1", self.port, retries=False)
        return lambda: bytes(pool.urlopen("POST", "/renew", self.text(), HEADERS).data)

    def httpcore_sync(self) -> Callable[[], bytes]:
        pool = httpcore.ConnectionPool(socket_options=NO_DELAY)
        return lambda: bytes(pool.request("POST", self.url, headers=HEADERS, content=self.text()).content)

    def requests_session(self) -> Callable[[], bytes]:
        session = requests.Session()
        return lambda: bytes(session.post(self.url, data=self.text(), headers=HEADERS).content)

    async def aiohttp_session(self) -> Callable[[], Awaitable[bytes]]:
        session = aiohttp.ClientSession()

        async def call() -> bytes:
            async with session.post(self.url, data=self.text(), headers=HEADERS) as answer:
                return bytes(await answer.read())

        return call

    async def httpcore_async(self) -> Callable[[], Awaitable[bytes]]:
        pool = httpcore.AsyncConnectionPool(socket_options=NO_DELAY)

        async def call() -> bytes:
            return bytes((await pool.request("POST", self.url, headers=HEADERS, content=self.text())).content)

        return call

    async def httpx_client(self) -> Callable[[], Awaitable[bytes]]:
        client = httpx.AsyncClient()

        async def call() -> bytes:
            return bytes((await client.post(self.url, content=self.text(), headers=HEADERS)).content)

        return call

    async def on_protocol(
        self, request: Callable[[], bytes], feed: Callable[[Any, bytes], bytes | None]
    ) -> Callable[[], Awaitable[bytes]]:
        loop = asyncio.get_running_loop()

        class Protocol(asyncio.Protocol):
            answer: asyncio.Future[bytes]

            def data_received(self, data: bytes) -> None:
                whole = feed(self, data)
                if whole is not None:
                    self.answer.set_result(whole)

        transport, protocol = await loop.create_connection(Protocol, "127.0.0.1", self.port)

        async def call() -> bytes:
            protocol.answer = loop.create_future()
            transport.write(request())
            return await protocol.answer

        return call

    async def h11_protocol(self) -> Callable[[], Awaitable[bytes]]:
        _, request, feed = self.h11_parts()
        return await self.on_protocol(request, lambda _, data: feed(data))

    async def httptools_protocol(self) -> Callable[[], Awaitable[bytes]]:
        class Events:
            def __init__(self) -> None:
                self.parts: list[bytes] = []
                self.done = False

            def on_body(self, body: bytes) -> None:
                self.parts.append(body)

            def on_message_complete(self) -> None:
                self.done = True

        def feed(_: Any, data: bytes) -> bytes | None:
            events = Events()
            httptools.HttpResponseParser(events).feed_data(data)
            return b"".join(events.parts) if events.done else None

        return await self.on_protocol(self.raw, feed)


async def times(call: Callable[[], Any]) -> float:
    began = time.process_time()
    for _ in range(CALLS):
        answer = call()
        if not isinstance(answer, bytes):
            answer = await answer
        assert json.loads(answer)["token"]
    return (time.process_time() - began) / CALLS * 1e6


async def main(measured: Measured) -> None:
    sync: dict[str, Callable[[], Callable[[], bytes]]] = {
        "http.client": measured.http_client,
        "http.client's response, head sent in one piece": measured.http_client_response,
        "h11 on a socket": measured.h11_socket,
        "urllib3": measured.urllib3_pool,
        "httpcore": measured.httpcore_sync,
        "requests": measured.requests_session,
    }
    tasks: dict[str, Callable[[], Coroutine[Any, Any, Callable[[], Awaitable[bytes]]]]] = {
        "async: httptools in an asyncio.Protocol": measured.httptools_protocol,
        "async: h11 in an asyncio.Protocol": measured.h11_protocol,
        "async: aiohttp": measured.aiohttp_session,
        "async: httpcore": measured.httpcore_async,
        "async: httpx": measured.httpx_client,
    }
    calls: dict[str, Callable[[], Any]] = {name: make() for name, make in sync.items()}
    for name, make_async in tasks.items():
        calls[name] = await make_async()
    found: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(ROUNDS + 1):
        for name, call in calls.items():
            spent = await times(call)
            if turn:  # the first warms up
                found[name].append(spent)
    for name, spent_each in found.items():
        print(f"{name:48} {statistics.median(spent_each):6.0f} us")


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        server = LockServer(build("LOCKSERVER_BIN", Path(folder), "server", "./cmd/lockserver"))
        try:
            held = server.take("http")
            asyncio.run(main(Measured(server.port, {k: held[k] for k in ("resource", "owner", "token")})))
        finally:
            server.close()
