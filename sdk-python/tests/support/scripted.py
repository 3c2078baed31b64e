"""A server that answers just what a test tells it to, for what a real one does too rarely."""

from __future__ import annotations

import itertools
import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from lockserver_client._contract import Operation
from lockserver_client._outcome import Answer, Failure, Outcome


@dataclass
class Say:
    status: int
    body: dict[str, Any] | str = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    hang_up: bool = False
    """Take the request, close the connection, answer nothing."""
    raw: bytes = b""
    """Send this in place of an answer, and close the connection."""


@dataclass
class Heard:
    path: str
    body: dict[str, Any]
    headers: dict[str, str]
    connection: int
    at: float


def granted(token: int = 7, expires_in: float | None = None, waited: float = 0.0, **more: Any) -> Say:
    return Say(200, {"token": token, "expires_in": expires_in, "waited": waited, "mode": "exclusive", **more})


def released() -> Say:
    return Say(200, {"outcome": "released"})


def refused(status: int, code: str, **more: Any) -> Say:
    headers = {"Retry-After": more.pop("retry_after")} if "retry_after" in more else {}
    return Say(status, {"code": code, "title": code, **more}, headers)


class InMemory:
    """The same without a network: a transport of which `async_tasks` and `sync_tasks` have one each."""

    def __init__(self, *script: Say, otherwise: Callable[[Heard], Say] | None = None) -> None:
        self.script = list(script)
        self.heard: list[Heard] = []
        self._otherwise = otherwise
        self._connection = 0

    def answer(self, operation: Operation, request: bytes, again: bool) -> Outcome:
        self._connection += again
        heard = Heard(operation.path, json.loads(request), {}, self._connection, time.monotonic())
        self.heard.append(heard)
        if self.script:
            say = self.script.pop(0)
        elif self._otherwise is not None:
            say = self._otherwise(heard)
        else:
            say = released() if operation.name == "release" else granted()
        if say.hang_up:
            return Failure("memory hung up", True)
        text = say.body if isinstance(say.body, str) else json.dumps(say.body)
        return Answer(say.status, text.encode(), say.headers.get("Retry-After"), peer="memory")

    def paths(self) -> list[str]:
        return [request.path for request in self.heard]

    def addresses(self) -> int:
        return 1

    def attend(self, lost: object, begun: object) -> None:
        """It tells no losses."""

    def session(self) -> None:
        """There is none."""

    def end(self, tag: object) -> None:
        """Nothing waits."""

    def close(self) -> None:
        """Nothing is open."""


class Scripted:
    """Answers `script` in order; afterwards whatever `otherwise` says. `heard` keeps the requests.

    It has no sessions: `upgrade` answers who asks for one.
    """

    def __init__(
        self,
        *script: Say,
        otherwise: Callable[[Heard], Say] | None = None,
        upgrade: Callable[[Heard], Say] | None = None,
    ) -> None:
        self.script = list(script)
        self.heard: list[Heard] = []
        self._mutex = threading.Lock()
        outer, numbers = self, itertools.count()

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def setup(self) -> None:
                super().setup()
                self._number = next(numbers)

            def do_GET(self) -> None:
                request = Heard(self.path, {}, dict(self.headers), self._number, time.monotonic())
                with outer._mutex:
                    outer.heard.append(request)
                self._say(Say(404) if upgrade is None else upgrade(request))

            def do_POST(self) -> None:
                text = self.rfile.read(int(self.headers["Content-Length"]))
                request = Heard(self.path, json.loads(text), dict(self.headers), self._number, time.monotonic())
                with outer._mutex:
                    outer.heard.append(request)
                    if outer.script:
                        say = outer.script.pop(0)
                    elif otherwise is not None:
                        say = otherwise(request)
                    else:
                        say = released() if request.path.endswith("/release") else granted()
                self._say(say)

            def _say(self, say: Say) -> None:
                if say.hang_up or say.raw:
                    self.close_connection = True
                    try:
                        self.wfile.write(say.raw)
                    except OSError:  # the client has had enough
                        pass
                    return
                body = (say.body if isinstance(say.body, str) else json.dumps(say.body)).encode()
                self.send_response(say.status)
                for name, value in say.headers.items():
                    self.send_header(name, value)
                if "Transfer-Encoding" not in say.headers:
                    self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.addr = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def paths(self) -> list[str]:
        return [request.path for request in self.heard]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
