from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from support.async_tasks import nothing_left
from support.processes import SECRET, LockServer, Proxy

from lockserver_client import AsyncLockserverClient


@pytest.fixture
async def client(server: LockServer) -> AsyncIterator[AsyncLockserverClient]:
    async with AsyncLockserverClient(server.addr, secret=SECRET) as made:
        yield made
    await nothing_left()


@pytest.fixture
async def other(server: LockServer) -> AsyncIterator[AsyncLockserverClient]:
    async with AsyncLockserverClient(server.addr, secret=SECRET) as made:
        yield made


@pytest.fixture
async def through(proxy: Proxy) -> AsyncIterator[AsyncLockserverClient]:
    """A client whose way to the server can be disturbed."""
    async with AsyncLockserverClient(proxy.addr, secret=SECRET) as made:
        yield made


@pytest.fixture
async def to() -> AsyncIterator[Callable[[str], AsyncLockserverClient]]:
    """Makes clients of any address, with bounds that suit a test's patience."""
    made: list[AsyncLockserverClient] = []

    def make(addr: str) -> AsyncLockserverClient:
        client = AsyncLockserverClient(addr, secret=SECRET)
        client._bounds.answer = 0.5
        client._bounds.release = 1.0
        client._bounds.unanswered = 1.0
        client._bounds.unanswered_queued = 2.0
        made.append(client)
        return client

    yield make
    for client in made:
        await client.close()
