"""Code as users of the original 0.1 client wrote it: the same class, positional arguments, truth of the result."""

from __future__ import annotations

import gc
import time

import pytest
from support.processes import SECRET, LockServer

from lockserver_client import LockserverClient


def test_a_client_made_as_ever_locks_and_releases(server: LockServer, resource: str) -> None:
    client = LockserverClient(addr=f"127.0.0.1:{server.port}", owner="worker", secret=SECRET)
    if not client.acquire(resource):
        pytest.fail("a blocking acquire came back without the lock")
    client.release(resource)
    assert server.look(resource) is None
    client.close()


def test_settings_come_from_the_environment(server: LockServer, resource: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCKSERVER_ADDR", f"127.0.0.1:{server.port}")
    monkeypatch.setenv("LOCKSERVER_OWNER", "from-the-environment")
    monkeypatch.setenv("LOCKSERVER_SECRET", SECRET)
    client = LockserverClient()
    assert client.acquire(resource)
    assert server.holders(resource)[0]["owner"] == "from-the-environment"
    client.release(resource)
    client.close()


def test_a_call_that_does_not_block_is_false_when_locked(server: LockServer, resource: str) -> None:
    mine = LockserverClient(server.addr, "me", SECRET)
    yours = LockserverClient(server.addr, "you", SECRET)
    assert mine.acquire(resource, False)
    assert not yours.acquire(resource, False)
    assert not yours.acquire(resource, blocking=False, expire=None)
    mine.release(resource)
    assert yours.acquire(resource, False, 30)
    yours.release(resource)
    mine.close()
    yours.close()


def test_a_lock_with_expire_ends_by_itself(server: LockServer, resource: str) -> None:
    mine = LockserverClient(addr=server.addr, owner="me", secret=SECRET)
    yours = LockserverClient(addr=server.addr, owner="you", secret=SECRET)
    began = time.monotonic()
    mine.acquire(resource, True, 1)
    assert yours.acquire(resource, blocking=True)
    assert 1 <= time.monotonic() - began < 10
    yours.release(resource)
    mine.close()
    yours.close()


def test_a_second_client_of_the_owner_releases(server: LockServer, resource: str) -> None:
    LockserverClient(server.addr, "batch", SECRET).acquire(resource)
    LockserverClient(server.addr, "batch", SECRET).release(resource)
    assert server.look(resource) is None


def test_a_client_that_is_dropped_closes_its_connections_quietly(server: LockServer, resource: str) -> None:
    for _ in range(20):
        client = LockserverClient(server.addr, secret=SECRET)
        client.acquire(resource)
        client.release(resource)
        client.itself = client  # type: ignore[attr-defined]  # garbage in a circle, finalized in any order
        del client
    gc.collect()  # a warning would fail this test


def test_try_and_finally(server: LockServer, resource: str) -> None:
    client = LockserverClient(server.addr, "batch", SECRET)
    done = []
    if client.acquire(resource, blocking=True, expire=60):
        try:
            done.append(1)
        finally:
            client.release(resource)
    assert done == [1]
    assert server.look(resource) is None
    client.close()
