"""Many at a time on one client, and very many one after another."""

from __future__ import annotations

import gc
import os
import resource as limits
from pathlib import Path

import pytest
from support.async_tasks import MANY, start
from support.processes import LockServer

from lockserver_client import AsyncLockserverClient

ACQUISITIONS = int(os.environ.get("LOCKSERVER_TEST_ACQUISITIONS", "100000"))
"""Over how many the memory has to stay as it is."""
LANES = 8


async def test_many_on_one_client_exclude_each_other(
    client: AsyncLockserverClient, server: LockServer, resource: str
) -> None:
    inside = 0
    tokens: list[int] = []

    async def work() -> None:
        nonlocal inside
        for _ in range(3):
            async with client.lock(resource) as lock:
                inside += 1
                assert inside == 1
                tokens.append(lock.token)
                inside -= 1

    running = [start(work) for _ in range(MANY)]
    for one in running:
        await one.result(60)
    assert len(tokens) == 3 * MANY
    assert tokens == sorted(set(tokens)), "fencing tokens rise in the order of the grants"
    assert server.look(resource) is None


def resident() -> int:
    """Bytes of memory that the process occupies."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * limits.getpagesize()


async def test_memory_stays_as_it_is(client: AsyncLockserverClient, resource: str) -> None:
    async def lane(number: int, count: int) -> None:
        for step in range(count):
            lock = await client.acquire(f"{resource}-{number}-{step % 500}", expire=30, renew=step % 2 == 0)
            assert lock is not None
            await lock.release()

    async def run(count: int) -> None:
        running = [start(lane, number, count // LANES) for number in range(LANES)]
        for one in running:
            await one.result(800)

    await run(ACQUISITIONS // 10)
    gc.collect()
    before, objects = resident(), len(gc.get_objects())
    await run(ACQUISITIONS * 9 // 10)
    gc.collect()
    more = resident() - before
    print(f"{more / 2**20:.2f} MiB more over {ACQUISITIONS * 9 // 10} acquisitions")
    assert len(gc.get_objects()) - objects < 500
    assert more < 8 * 2**20


async def test_a_lock_leaves_nothing_for_the_garbage_collector(client: AsyncLockserverClient, resource: str) -> None:
    async def pairs(count: int) -> None:
        for _ in range(count):
            lock = await client.acquire(resource, expire=30)
            await lock.release()

    await pairs(5)
    gc.collect()
    gc.disable()
    try:
        await pairs(200)
        assert gc.collect() < 200
    finally:
        gc.enable()


async def test_leases_that_ran_out_are_not_remembered(client: AsyncLockserverClient, resource: str) -> None:
    for number in range(3000):
        await client.acquire(f"{resource}-{number}", expire=0.02)
    core = client._here()
    assert len(core._locks) < 2000


if not Path("/proc/self/statm").exists():
    pytest.skip("the memory of a process is read from /proc", allow_module_level=True)
