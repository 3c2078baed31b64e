"""Real programs for tests: the lock server and Toxiproxy, built from this repository where none is named."""

from __future__ import annotations

import http.client
import json
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

REPOSITORY = Path(__file__).resolve().parents[3]
SECRET = "a-secret-for-tests-0123456789"


def build(variable: str, folder: Path, module: str, package: str) -> str:
    """The program that the environment names, or else one that is built once for the whole run."""
    named = os.environ.get(variable)
    if named:
        return named
    target = folder / variable.lower()
    if not target.exists():
        subprocess.run(["go", "build", "-o", str(target), package], cwd=REPOSITORY / module, check=True, timeout=900)
    return str(target)


def clean_environment(**more: str) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("LOCKSERVER_")} | more


class Port:
    """A port of 127.0.0.1 that nobody else is given until it is closed. It refuses connections while nobody listens."""

    def __init__(self) -> None:
        self._holder = socket.socket()
        self._holder.bind(("127.0.0.1", 0))
        self._holder.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.number = int(self._holder.getsockname()[1])
        if not sys.platform.startswith("linux"):  # elsewhere a server cannot listen where another socket is bound
            self.close()

    def close(self) -> None:
        self._holder.close()


class LockServer:
    """One `lockserver` process, which keeps its port over a restart."""

    def __init__(self, binary: str, store: str = "memory", *options: str) -> None:
        self.secret = SECRET
        self._binary = binary
        self._options = ["--store", store, *options]
        self._folder = tempfile.TemporaryDirectory()
        self._log = open(Path(self._folder.name) / "log", "a+")  # noqa: SIM115
        self._port = Port()
        self.port = self._port.number
        try:
            self.start()
        except BaseException:
            self.close()
            raise

    def start(self) -> None:
        self._process = subprocess.Popen(
            [self._binary, "--port", str(self.port), *self._options],
            cwd=self._folder.name,
            env=clean_environment(LOCKSERVER_SECRET=self.secret),
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith("lockserver ready on "), f"{line!r}\n{self.log()}"
        self.addr = line.split()[-1]

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read()

    def kill(self) -> None:
        self._end(signal.SIGKILL)

    def terminate(self) -> None:
        self._end(signal.SIGTERM)

    def pause(self) -> None:
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    def _end(self, how: signal.Signals) -> None:
        self._process.send_signal(how)
        self._process.wait(20)
        assert self._process.stdout is not None
        self._process.stdout.close()

    def close(self) -> None:
        self.kill()
        self._port.close()
        self._log.close()
        self._folder.cleanup()

    def ask(self, method: str, path: str, body: dict[str, Any] | None = None) -> tuple[int, dict[str, Any]]:
        """One request past the SDK."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            connection.request(
                method, path, None if body is None else json.dumps(body), {"X-LOCKSERVER-SECRET": self.secret}
            )
            answer = connection.getresponse()
            return answer.status, json.loads(answer.read())
        finally:
            connection.close()

    def look(self, resource: str) -> dict[str, Any] | None:
        """Holders and queue of a resource; None where it is free and nobody waits."""
        status, data = self.ask("GET", f"/lock?resource={quote(resource, safe='')}")
        assert status in (200, 404), data
        return data if status == 200 else None

    def holders(self, resource: str) -> list[dict[str, Any]]:
        return list((self.look(resource) or {}).get("holders", ()))

    def held_for(self, resource: str) -> float:
        """Seconds since its grant; infinite once nobody holds it, so that waiting for a length always ends."""
        return float(next((holder["held_for"] for holder in self.holders(resource)), math.inf))

    def waiters(self, resource: str) -> list[dict[str, Any]]:
        return list((self.look(resource) or {}).get("queue", ()))

    def evict(self, resource: str) -> None:
        status, data = self.ask("DELETE", f"/lock?resource={quote(resource, safe='')}")
        assert status == 200, data

    def take(self, resource: str, owner: str = "somebody-else", **more: Any) -> dict[str, Any]:
        """Hold a resource past the SDK."""
        status, data = self.ask("POST", "/acquire", {"resource": resource, "owner": owner, **more})
        assert status == 200, data
        return data

    def give(self, resource: str, owner: str = "somebody-else") -> None:
        status, data = self.ask("POST", "/release", {"resource": resource, "owner": owner})
        assert status == 200, data


class Toxiproxy:
    """A Toxiproxy process; each `proxy()` is a port with faults of its own."""

    def __init__(self, binary: str) -> None:
        self._port = Port()
        self._process = subprocess.Popen(
            [binary, "-host", "127.0.0.1", "-port", str(self._port.number)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self._count = 0
        end = time.monotonic() + 20
        while True:
            try:
                self.call("GET", "/version")
                return
            except OSError:
                assert time.monotonic() < end, "Toxiproxy does not answer"
                assert self._process.poll() is None, "Toxiproxy has ended"
                time.sleep(0.02)

    def call(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        connection = http.client.HTTPConnection("127.0.0.1", self._port.number, timeout=20)
        try:
            connection.request(method, path, None if body is None else json.dumps(body))
            answer = connection.getresponse()
            text = answer.read()
            assert answer.status < 300, text
            return json.loads(text) if text.startswith((b"{", b"[")) else None
        finally:
            connection.close()

    def proxy(self, port: int) -> Proxy:
        self._count += 1
        return Proxy(self, f"p{self._count}", port)

    def close(self) -> None:
        self._process.kill()
        self._process.wait(20)
        self._port.close()


class Proxy:
    def __init__(self, toxiproxy: Toxiproxy, name: str, port: int) -> None:
        self._toxiproxy = toxiproxy
        self._name = name
        self._port = Port()
        self._listen = f"127.0.0.1:{self._port.number}"
        toxiproxy.call(
            "POST",
            "/proxies",
            {"name": name, "listen": self._listen, "upstream": f"127.0.0.1:{port}", "enabled": True},
        )
        self.addr = f"http://{self._listen}"

    def toxic(self, kind: str, stream: str = "downstream", **attributes: Any) -> str:
        name = f"{kind}-{stream}"
        self._toxiproxy.call(
            "POST",
            f"/proxies/{self._name}/toxics",
            {"name": name, "type": kind, "stream": stream, "attributes": attributes},
        )
        return name

    def heal(self, toxic: str) -> None:
        self._toxiproxy.call("DELETE", f"/proxies/{self._name}/toxics/{toxic}")

    def swallow_answers(self) -> str:
        """Requests arrive; nothing comes back, and no connection is closed."""
        return self.toxic("timeout", timeout=0)

    def swallow_requests(self) -> str:
        return self.toxic("timeout", "upstream", timeout=0)

    def cut(self) -> None:
        """Close every connection and take no new one."""
        self._toxiproxy.call("POST", f"/proxies/{self._name}", {"enabled": False, "listen": self._listen})

    def mend(self) -> None:
        self._toxiproxy.call("POST", f"/proxies/{self._name}", {"enabled": True, "listen": self._listen})

    def lead_to(self, port: int) -> None:
        """From now on another server is at the end of this way; connections to the old one are closed."""
        self._toxiproxy.call("POST", f"/proxies/{self._name}", {"upstream": f"127.0.0.1:{port}", "enabled": False})
        self._toxiproxy.call("POST", f"/proxies/{self._name}", {"enabled": True})

    def close(self) -> None:
        self._toxiproxy.call("DELETE", f"/proxies/{self._name}")
        self._port.close()
