# Generated from tests/_async/test_many.py by tools/generate.py; change that one.
"""Many at a time on one client, and very many one after another."""

from __future__ import annotations

import gc
import os
import resource as limits
from pathlib import Path

import pytest
from support.processes import LockServer
from support.sync_tasks import MANY, start

from lockserver_client import LockserverClient

ACQUISITIONS = int(os.environ.get("LOCKSERVER_TEST_ACQUISITIONS", "100000"))
"""Over how many the memory has to stay as it is."""
LANES = 8


def test_many_on_one_client_exclude_each_other(client: LockserverClient, server: LockServer, resource: str) -> None:
    inside = 0
    tokens: list[int] = []

    def work() -> None:
        nonlocal inside
        for _ in range(3):
            with client.lock(resource) as lock:
                inside += 1
                assert inside == 1
                tokens.append(lock.token)
                inside -= 1

    running = [start(work) for _ in range(MANY)]
    for one in running:
        one.result(60)
    assert len(tokens) == 3 * MANY
    assert tokens == sorted(set(tokens)), "fencing tokens rise in the order of the grants"
    assert server.look(resource) is None


def resident() -> int:
    """Bytes of memory that the process occupies."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * limits.getpagesize()


def test_memory_stays_as_it_is(client: LockserverClient, resource: str) -> None:
    def lane(number: int, count: int) -> None:
        for step in range(count):
            lock = client.acquire(f"{resource}-{number}-{step % 500}", expire=30, renew=step % 2 == 0)
            assert lock is not None
            lock.release()

    def run(count: int) -> None:
        running = [start(lane, number, count // LANES) for number in range(LANES)]
        for one in running:
            one.result(800)

    run(ACQUISITIONS // 10)
    gc.collect()
    before, objects = resident(), len(gc.get_objects())
    run(ACQUISITIONS * 9 // 10)
    gc.collect()
    more = resident() - before
    print(f"{more / 2**20:.2f} MiB more over {ACQUISITIONS * 9 // 10} acquisitions")
    assert len(gc.get_objects()) - objects < 500
    assert more < 8 * 2**20


def test_a_lock_leaves_nothing_for_the_garbage_collector(client: LockserverClient, resource: str) -> None:
    def pairs(count: int) -> None:
        for _ in range(count):
            lock = client.acquire(resource, expire=30)
            lock.release()

    pairs(5)
    gc.collect()
    gc.disable()
    try:
        pairs(200)
        assert gc.collect() < 200
    finally:
        gc.enable()


def test_leases_that_ran_out_are_not_remembered(client: LockserverClient, resource: str) -> None:
    for number in range(3000):
        client.acquire(f"{resource}-{number}", expire=0.02)
    core = client._here()
    assert len(core._locks) < 2000


if not Path("/proc/self/statm").exists():
    pytest.skip("the memory of a process is read from /proc", allow_module_level=True)
