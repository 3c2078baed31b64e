"""What a session gains: pairs of acquire and release in a second, by flows that do nothing else, each on its own lock.

Everything is measured in one run, in turns, against one server process: a bare `http.client`, this SDK over HTTP and
over a session, and redis-py's Lock on a `redis-server` of its own (left out, and said, where either is missing).
"""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
sys.path.insert(0, str(Path(__file__).resolve().parent))

from support.processes import SECRET, LockServer, Port, build

from lockserver_client import AsyncLockserverClient, LockserverClient

ROUNDS = int(os.environ.get("BENCH_ROUNDS", "7"))
SECONDS = 0.5
THREADS = (1, 16)
FLOWS = (1, 16, 64)


class Rate(NamedTuple):
    pairs: float
    cpu: float
    """Seconds of this process for one pair: what a busy machine changes least."""


Pair = Callable[[int], None]
AsyncPair = Callable[[int], Awaitable[None]]


def by_threads(flows: int, pair: Pair) -> Rate:
    done = [0] * flows
    end = time.perf_counter() + SECONDS

    def flow(number: int) -> None:
        while time.perf_counter() < end:
            pair(number)
            done[number] += 1

    threads = [threading.Thread(target=flow, args=(number,)) for number in range(flows)]
    began, used = time.perf_counter(), time.process_time()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return Rate(sum(done) / (time.perf_counter() - began), (time.process_time() - used) / sum(done))


def by_tasks(runner: asyncio.Runner, flows: int, pair: AsyncPair) -> Rate:
    done = [0] * flows

    async def flow(number: int, end: float) -> None:
        while time.perf_counter() < end:
            await pair(number)
            done[number] += 1

    async def all_flows() -> Rate:
        began, used = time.perf_counter(), time.process_time()
        await asyncio.gather(*(flow(number, began + SECONDS) for number in range(flows)))
        return Rate(sum(done) / (time.perf_counter() - began), (time.process_time() - used) / sum(done))

    return runner.run(all_flows())


class Redis:
    """A server of its own, and redis-py's Lock on it."""

    def __init__(self) -> None:
        import redis
        import redis.asyncio

        program = shutil.which("redis-server")
        if program is None:
            raise FileNotFoundError("redis-server is not installed")
        port = Port()
        self._process = subprocess.Popen(
            [program, "--port", str(port.number), "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL
        )
        self._sync = redis.Redis(port=port.number)
        self._async = redis.asyncio.Redis(port=port.number)
        for _ in range(200):
            try:
                self._sync.ping()
                return
            except redis.ConnectionError:
                time.sleep(0.05)
        raise TimeoutError("redis-server does not answer")

    def pair(self, number: int) -> None:
        lock = self._sync.lock(f"bench-{number}", timeout=30)
        lock.acquire()
        lock.release()

    async def async_pair(self, number: int) -> None:
        lock = self._async.lock(f"bench-{number}", timeout=30)
        await lock.acquire()
        await lock.release()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def pair_of(client: LockserverClient) -> Pair:
    def pair(number: int) -> None:
        client.acquire(f"bench-{number}", expire=30).release()

    return pair


def async_pair_of(client: AsyncLockserverClient) -> AsyncPair:
    async def pair(number: int) -> None:
        lock = await client.acquire(f"bench-{number}", expire=30)
        await lock.release()

    return pair


class Bare:
    """`http.client` with a kept connection, and not a line more than the two requests need."""

    def __init__(self, server: LockServer, name: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", server.port)
        self._headers = {"X-LOCKSERVER-SECRET": SECRET, "Content-Type": "application/json"}
        self._name = name
        self._count = 0

    def post(self, path: str, body: dict[str, Any]) -> dict[str, Any]:
        self._connection.request("POST", path, json.dumps(body), self._headers)
        answer = self._connection.getresponse()
        said = json.loads(answer.read())
        assert answer.status == 200, said
        return dict(said)

    def pair(self) -> None:
        self._count += 1
        both = {"resource": self._name, "owner": self._name}
        granted = self.post("/acquire", both | {"expire": 30, "id": f"{self._name}-{self._count}"})
        self.post("/release", both | {"token": granted["token"]})


def bare_pair(server: LockServer) -> Pair:
    clients = [Bare(server, f"bare-{number}") for number in range(max(THREADS))]
    return lambda number: clients[number].pair()


def main() -> int:
    with tempfile.TemporaryDirectory() as folder, asyncio.Runner() as runner:
        server = LockServer(build("LOCKSERVER_BIN", Path(folder), "server", "./cmd/lockserver"))
        settings: dict[str, Any] = {"addr": server.addr, "secret": SECRET}
        sync: dict[str, Pair] = {"bare http.client": bare_pair(server)}
        aio: dict[str, AsyncPair] = {}
        for name in ("http", "session"):
            sync[name] = pair_of(LockserverClient(**settings, transport=name))
            aio[name] = async_pair_of(AsyncLockserverClient(**settings, transport=name))
        redis: Redis | None = None
        try:
            redis = Redis()
            sync["redis-py"], aio["redis-py"] = redis.pair, redis.async_pair
        except (ImportError, OSError) as error:
            print(f"LEFT OUT: redis-py's Lock: {error}", file=sys.stderr)
        found: dict[tuple[str, int, str], list[Rate]] = {}
        for turn in range(ROUNDS + 1):
            for flows in THREADS:
                for name, pair in sync.items():
                    found.setdefault(("threads", flows, name), []).append(by_threads(flows, pair))
            for flows in FLOWS:
                for name, async_pair in aio.items():
                    found.setdefault(("tasks", flows, name), []).append(by_tasks(runner, flows, async_pair))
            if not turn:
                found.clear()  # the first warms up
        server.close()
        if redis is not None:
            redis.close()

    for (kind, flows, name), rates in found.items():
        pairs, cpu = (statistics.median(values) for values in zip(*rates, strict=True))
        line = f"{flows:3} {kind:8}{name:18}{pairs:8.0f} pairs/s {cpu * 1e6:6.0f} µs of CPU each"
        if name != "session":
            turns = list(zip(found[kind, flows, "session"], rates, strict=True))
            times = sorted(session.pairs / other.pairs for session, other in turns)
            less = statistics.median(other.cpu / session.cpu for session, other in turns)
            line += f"   session: {statistics.median(times):5.2f} times ({times[0]:.2f} to {times[-1]:.2f})"
            line += f", CPU {less:.2f} times less"
        print(line)
    return 0


if __name__ == "__main__":
    for name in [name for name in os.environ if name.startswith("LOCKSERVER_") and name != "LOCKSERVER_BIN"]:
        del os.environ[name]
    sys.exit(main())
