# Generated from tests/_async/conftest.py by tools/generate.py; change that one.
from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support.processes import SECRET, LockServer, Proxy
from support.sync_tasks import InMemory, nothing_left

from lockserver_client import LockserverClient


@pytest.fixture
def client(server: LockServer) -> Iterator[LockserverClient]:
    with LockserverClient(server.addr, secret=SECRET) as made:
        yield made
    nothing_left()


@pytest.fixture
def other(server: LockServer) -> Iterator[LockserverClient]:
    with LockserverClient(server.addr, secret=SECRET) as made:
        yield made
    nothing_left()


@pytest.fixture
def through(proxy: Proxy) -> Iterator[LockserverClient]:
    """A client whose way to the server can be disturbed."""
    with LockserverClient(proxy.addr, secret=SECRET) as made:
        yield made
    nothing_left()


@pytest.fixture
def to() -> Iterator[Callable[..., LockserverClient]]:
    """Makes clients of any address or transport, with shorter bounds where a test waits for their end."""
    made: list[LockserverClient] = []

    def make(way: str | InMemory, **bounds: float) -> LockserverClient:
        client = LockserverClient(way if isinstance(way, str) else None, secret=SECRET)
        if not isinstance(way, str):
            client._transport = lambda settings, bounds: way
        for name, seconds in bounds.items():
            setattr(client._bounds, name, seconds)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()
    nothing_left()
