# Generated from tests/_async/conftest.py by tools/generate.py; change that one.
from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support.processes import SECRET, LockServer, Proxy
from support.sync_tasks import InMemory, nothing_left

from lockserver_client import LockserverClient


@pytest.fixture
def ended() -> Iterator[None]:
    """After all clients of a test: they run nothing any more."""
    yield
    nothing_left()


@pytest.fixture
def client(ended: None, server: LockServer) -> Iterator[LockserverClient]:
    with LockserverClient(server.addr, secret=SECRET) as made:
        yield made


@pytest.fixture
def other(ended: None, server: LockServer) -> Iterator[LockserverClient]:
    with LockserverClient(server.addr, secret=SECRET) as made:
        yield made


@pytest.fixture
def through(ended: None, proxy: Proxy) -> Iterator[LockserverClient]:
    """A client whose way to the server can be disturbed."""
    with LockserverClient(proxy.addr, secret=SECRET) as made:
        yield made


@pytest.fixture
def to(ended: None) -> Iterator[Callable[..., LockserverClient]]:
    """Makes clients that use HTTP, or any transport, with shorter bounds where a test waits for their end."""
    made: list[LockserverClient] = []

    def make(way: str | InMemory, **bounds: float) -> LockserverClient:
        client = LockserverClient(way if isinstance(way, str) else None, secret=SECRET, transport="http")
        if not isinstance(way, str):
            client._transport = lambda settings, bounds: way
        for name, seconds in bounds.items():
            setattr(client._bounds, name, seconds)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()
