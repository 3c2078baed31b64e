"""A server of sessions that does just what a test tells it to."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable
from typing import Any

from lockserver_client._frames import CLOSE, PING, TEXT, accepted

Said = dict[str, Any] | bytes | None
"""An answer, the very bytes of frames, or nothing."""


def frame_of_server(payload: bytes, opcode: int = TEXT, *, final: bool = True) -> bytes:
    size = len(payload)
    head = bytes([opcode | (0x80 if final else 0)])
    if size < 126:
        return head + bytes([size]) + payload
    if size < 1 << 16:
        return head + b"\x7e" + size.to_bytes(2, "big") + payload
    return head + b"\x7f" + size.to_bytes(8, "big") + payload


def grant(heard: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"seq": heard["seq"], "status": 200, "token": heard["seq"], "expires_in": None, "waited": 0.0} | more


def plain(heard: dict[str, Any]) -> dict[str, Any]:
    """Grants and releases whatever it is asked."""
    if heard["op"] == "release":
        return {"seq": heard["seq"], "status": 200, "outcome": "released"}
    return grant(heard, expires_in=heard.get("expire"))


class Sessions:
    """Answers each request with what `answer` returns; `heard` keeps requests, `messages` how many came together."""

    def __init__(self, answer: Callable[[dict[str, Any]], Said] = plain) -> None:
        self.heard: list[dict[str, Any]] = []
        self.messages: list[int] = []
        self.made = 0
        self._answer = answer
        self._connections: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.addr = f"127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:  # it is gone
                pass

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:  # closed
                return
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            try:
                key = ""
                while (line := stream.readline()) not in (b"\r\n", b""):
                    if line.lower().startswith(b"sec-websocket-key:"):
                        key = line.split()[1].decode()
                connection.sendall(
                    b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                    b"Sec-WebSocket-Protocol: lockserver.v1\r\n"
                    b"Sec-WebSocket-Accept: %b\r\n\r\n" % accepted(key).encode()
                )
                self.made += 1
                while (message := self._message(stream)) is not None:
                    said = json.loads(message)
                    requests = said if isinstance(said, list) else [said]
                    self.messages.append(len(requests))
                    for request in requests:
                        self.heard.append(request)
                        answer = self._answer(request)
                        if isinstance(answer, dict):
                            answer = frame_of_server(json.dumps(answer).encode())
                        if answer:
                            connection.sendall(answer)
            except OSError:  # the client is gone
                pass

    @staticmethod
    def _message(stream: Any) -> bytes | None:
        """The next message; None at the end."""
        while head := stream.read(2):
            size = head[1] & 0x7F
            assert head[1] & 0x80, "a client masks"
            if size > 125:
                size = int.from_bytes(stream.read(2 if size == 126 else 8), "big")
            mask = stream.read(4)
            payload = bytes(byte ^ mask[at % 4] for at, byte in enumerate(stream.read(size)))
            opcode = head[0] & 0x0F
            if opcode == CLOSE:
                return None
            if opcode == TEXT:
                return payload
            assert opcode >= PING
        return None
