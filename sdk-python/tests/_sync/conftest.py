# Generated from tests/_async/conftest.py by tools/generate.py; change that one.
from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from support.processes import SECRET, LockServer, Proxy
from support.sync_tasks import nothing_left

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


@pytest.fixture
def through(proxy: Proxy) -> Iterator[LockserverClient]:
    """A client whose way to the server can be disturbed."""
    with LockserverClient(proxy.addr, secret=SECRET) as made:
        yield made


@pytest.fixture
def to() -> Iterator[Callable[[str], LockserverClient]]:
    """Makes clients of any address, with bounds that suit a test's patience."""
    made: list[LockserverClient] = []

    def make(addr: str) -> LockserverClient:
        client = LockserverClient(addr, secret=SECRET)
        client._bounds.answer = 0.5
        client._bounds.release = 1.0
        client._bounds.unanswered = 1.0
        client._bounds.unanswered_queued = 2.0
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()
