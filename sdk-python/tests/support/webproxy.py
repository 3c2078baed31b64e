"""A web proxy that knows CONNECT and nothing else."""

from __future__ import annotations

import base64
import socket
import socketserver
import ssl
import threading
from typing import Any


class WebProxy:
    """Keeps in `asked` the first lines that it was sent; `wants` is a user name and password."""

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.asked: list[str] = []
        self.wants: str | None = None
        outer = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                near: socket.socket = self.request
                try:
                    if tls is not None:
                        near = tls.wrap_socket(near, server_side=True)
                    outer._serve(near)
                except OSError:  # the client has had enough
                    pass
                finally:
                    near.close()

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                raise AssertionError("the proxy failed")

        self._server = Server(("127.0.0.1", 0), Handler)
        self.addr = f"127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)
        self._thread.start()

    def __enter__(self) -> WebProxy:
        return self

    def __exit__(self, *ending: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _serve(self, near: socket.socket) -> None:
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            byte = near.recv(1)
            if not byte:
                return
            head += byte
        first, *headers = head.decode("latin-1").split("\r\n")
        self.asked.append(first)
        if self.wants is not None:
            wanted = base64.b64encode(self.wants.encode()).decode()
            if f"Proxy-Authorization: Basic {wanted}" not in headers:
                near.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n")
                return
        host, _, port = first.split()[1].rpartition(":")
        try:
            far = socket.create_connection((host, int(port)))
        except OSError:
            near.sendall(b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\n\r\n")
            return
        near.sendall(b"HTTP/1.1 200 Connection established\r\n\r\n")
        with far:
            back = threading.Thread(target=self._carry, args=(far, near), daemon=True)
            back.start()
            self._carry(near, far)
            back.join()

    def _carry(self, here: socket.socket, there: socket.socket) -> None:
        try:
            while data := here.recv(65536):
                there.sendall(data)
        except OSError:  # either side was closed
            pass
        finally:
            try:
                there.shutdown(socket.SHUT_RDWR)
            except OSError:  # it is closed already
                pass
