from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest
from support.async_tasks import InMemory, nothing_left
from support.processes import SECRET, LockServer, Proxy

from lockserver_client import AsyncLockserverClient


@pytest.fixture
async def ended() -> AsyncIterator[None]:
    """After all clients of a test: they run nothing any more."""
    yield
    await nothing_left()


@pytest.fixture
async def client(ended: None, server: LockServer) -> AsyncIterator[AsyncLockserverClient]:
    async with AsyncLockserverClient(server.addr, secret=SECRET) as made:
        yield made


@pytest.fixture
async def other(ended: None, server: LockServer) -> AsyncIterator[AsyncLockserverClient]:
    async with AsyncLockserverClient(server.addr, secret=SECRET) as made:
        yield made


@pytest.fixture
async def through(ended: None, proxy: Proxy) -> AsyncIterator[AsyncLockserverClient]:
    """A client whose way to the server can be disturbed."""
    async with AsyncLockserverClient(proxy.addr, secret=SECRET) as made:
        yield made


@pytest.fixture
async def to(ended: None) -> AsyncIterator[Callable[..., AsyncLockserverClient]]:
    """Makes clients that use HTTP, or any transport, with shorter bounds where a test waits for their end."""
    made: list[AsyncLockserverClient] = []

    def make(way: str | InMemory, **bounds: float) -> AsyncLockserverClient:
        client = AsyncLockserverClient(way if isinstance(way, str) else None, secret=SECRET, transport="http")
        if not isinstance(way, str):
            client._transport = lambda settings, bounds: way
        for name, seconds in bounds.items():
            setattr(client._bounds, name, seconds)
        made.append(client)
        return client

    yield make
    for client in made:
        await client.close()
