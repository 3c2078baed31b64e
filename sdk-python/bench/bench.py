"""What the SDK costs beside the bare library, and what waiting on the server gains over polling.

Everything is measured in one run, in turns, against a server process of its own; what counts are the ratios. It fails
where one of them is below its floor.
"""

from __future__ import annotations

import asyncio
import http.client
import itertools
import json
import os
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from support.processes import SECRET, LockServer, build

from lockserver_client import AsyncLockserverClient, LockserverClient

ROUNDS = 12
PAIRS = 250
WORKERS = 4
CONTENDED_SECONDS = 4.0
POLL = 0.1
FLOOR_BARE = 0.85
FLOOR_POLLING = 20.0


class Bare:
    """`http.client` with one kept connection, and not a line more than the two requests need."""

    def __init__(self, server: LockServer, owner: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port)
        self._owner = owner
        self._headers = {"X-LOCKSERVER-SECRET": SECRET, "Content-Type": "application/json"}
        self._count = 0

    def post(self, path: str, body: dict[str, object]) -> tuple[int, dict[str, object]]:
        self._connection.request("POST", path, json.dumps(body), self._headers)
        answer = self._connection.getresponse()
        return answer.status, json.loads(answer.read())

    def acquire(self, resource: str) -> int | None:
        self._count += 1
        body = {"resource": resource, "owner": self._owner, "expire": 30, "id": f"{self._owner}-{self._count}"}
        status, data = self.post("/acquire", body)
        return int(str(data["token"])) if status == 200 else None

    def release(self, resource: str, token: int) -> None:
        status, _ = self.post("/release", {"resource": resource, "owner": self._owner, "token": token})
        assert status == 200

    def close(self) -> None:
        self._connection.close()


def rate(work: Callable[[], None], count: int) -> float:
    began = time.perf_counter()
    work()
    return count / (time.perf_counter() - began)


def pairs(server: LockServer) -> dict[str, float]:
    """Acquisitions with their releases in a second, one after another on one connection."""
    bare = Bare(server, "bare")
    client = LockserverClient(server.addr, secret=SECRET, transport="http")
    aio = AsyncLockserverClient(server.addr, secret=SECRET, transport="http")

    def with_bare() -> None:
        for _ in range(PAIRS):
            token = bare.acquire("pairs")
            assert token is not None
            bare.release("pairs", token)

    def with_acquire() -> None:
        for _ in range(PAIRS):
            lock = client.acquire("pairs", expire=30)
            assert lock is not None
            lock.release()

    def with_scope() -> None:
        for _ in range(PAIRS):
            with client.lock("pairs"):
                pass

    async def async_acquire() -> None:
        for _ in range(PAIRS):
            lock = await aio.acquire("pairs", expire=30)
            assert lock is not None
            await lock.release()

    async def async_scope() -> None:
        for _ in range(PAIRS):
            async with aio.lock("pairs"):
                pass

    with asyncio.Runner() as runner:
        kinds: dict[str, Callable[[], None]] = {
            "bare http.client": with_bare,
            "sync acquire and release": with_acquire,
            "sync scope": with_scope,
            "async acquire and release": lambda: runner.run(async_acquire()),
            "async scope": lambda: runner.run(async_scope()),
        }
        rates: dict[str, list[float]] = {name: [] for name in kinds}
        for turn in range(ROUNDS + 1):
            for name, work in kinds.items():
                measured = rate(work, PAIRS)
                if turn:  # the first warms up
                    rates[name].append(measured)
        runner.run(aio.close())
    bare.close()
    client.close()
    return {name: statistics.median(found) for name, found in rates.items()}


def hand_offs(make: Callable[[int], tuple[Callable[[], object], Callable[[object], None]]]) -> float:
    """How often in a second a lock that all workers want goes from one of them to another."""
    stop = threading.Event()
    holders: list[int] = []

    def work(number: int) -> None:
        acquire, release = make(number)
        while not stop.is_set():
            held = acquire()
            if held is None:
                stop.wait(POLL)
                continue
            holders.append(number)
            release(held)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(WORKERS)]
    for thread in threads:
        thread.start()
    time.sleep(CONTENDED_SECONDS)
    stop.set()
    for thread in threads:
        thread.join()
    return sum(one != other for one, other in itertools.pairwise(holders)) / CONTENDED_SECONDS


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        server = LockServer(build("LOCKSERVER_BIN", Path(folder), "server", "./cmd/lockserver"))
        try:
            found = pairs(server)
            clients = [LockserverClient(server.addr, secret=SECRET, transport="http") for _ in range(WORKERS)]
            pollers = [Bare(server, f"poller-{number}") for number in range(WORKERS)]
            waiting = hand_offs(
                lambda n: (lambda: clients[n].acquire("waiting", expire=30), lambda lock: lock.release())
            )
            polling = hand_offs(
                lambda n: (
                    lambda: pollers[n].acquire("polling"),
                    lambda token: pollers[n].release("polling", token),
                )
            )
            for client in clients:
                client.close()
            for poller in pollers:
                poller.close()
        finally:
            server.close()

    bare = found["bare http.client"]
    print(f"{'':28}{'pairs/s':>9}{'of bare':>9}")
    for name, measured in found.items():
        print(f"{name:28}{measured:9.0f}{measured / bare:9.2f}")
    print(f"\n{'':28}{'hand-offs/s':>12}")
    print(f"{f'{WORKERS} threads, SDK':28}{waiting:12.1f}")
    times = waiting / max(polling, 0.1)
    print(f"{f'{WORKERS} threads, polling 100 ms':28}{polling:12.1f}   SDK: {times:.0f} times as many")

    failed = [
        f"{name}: {found[name] / bare:.2f} of bare http.client, below {FLOOR_BARE}"
        for name in ("sync acquire and release", "sync scope")
        if found[name] < FLOOR_BARE * bare
    ]
    if times < FLOOR_POLLING:
        failed.append(f"hand-offs are {times:.1f} times those of polling, below {FLOOR_POLLING}")
    for line in failed:
        print(f"FAILED: {line}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    for name in [name for name in os.environ if name.startswith("LOCKSERVER_") and name != "LOCKSERVER_BIN"]:
        del os.environ[name]
    sys.exit(main())
