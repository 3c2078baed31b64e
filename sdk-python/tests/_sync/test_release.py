# Generated from tests/_async/test_release.py by tools/generate.py; change that one.
"""Release, by the lock and by the client."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from support.processes import SECRET, LockServer, Proxy
from support.scripted import Say, Scripted, granted, refused, released
from support.sync_tasks import InMemory, sleep, start, until

from lockserver_client import (
    ConnectionFailedError,
    LockserverClient,
    NotHeldError,
    StoreUnavailableError,
    TokenRequiredError,
)


def test_release_is_idempotent(client: LockserverClient, resource: str) -> None:
    lock = client.acquire(resource)
    assert lock is not None
    assert [lock.release() for _ in range(3)] == [True, True, True]
    assert client.acquire(resource, blocking=False) is not None
    assert lock.release() is True, "it does not free its successor"
    assert client.acquire(resource, blocking=False) is None


def test_release_by_several_at_a_time(client: LockserverClient, resource: str) -> None:
    lock = client.acquire(resource)
    assert lock is not None
    running = [start(lock.release) for _ in range(8)]
    assert [one.result() for one in running] == [True] * 8


def test_release_of_an_evicted_lock_is_false(client: LockserverClient, server: LockServer, resource: str) -> None:
    lock = client.acquire(resource)
    assert lock is not None
    server.evict(resource)
    assert lock.release() is False
    assert lock.release() is False
    assert lock.lost


def test_the_client_releases_its_one_lock(client: LockserverClient, resource: str) -> None:
    lock = client.acquire(resource)
    assert lock is not None
    assert client.release(resource) is True
    assert lock.release() is True
    assert repr(lock).endswith("released>")
    with pytest.raises(NotHeldError):
        client.release(resource)


def test_the_client_does_not_choose_between_its_locks(client: LockserverClient, resource: str) -> None:
    locks = [client.acquire(resource, limit=3) for _ in range(2)]
    with pytest.raises(TokenRequiredError):
        client.release(resource)
    for lock in locks:
        assert lock is not None
        assert not lock.lost
        assert lock.release()


def test_without_a_lock_of_its_own_the_client_releases_by_owner(server: LockServer, resource: str) -> None:
    with LockserverClient(server.addr, owner="the-team", secret=SECRET) as client:
        server.take(resource, owner="the-team")
        assert client.release(resource) is True
        assert server.holders(resource) == []
        server.take(resource, owner="another-team")
        with pytest.raises(NotHeldError) as caught:
            client.release(resource)
        assert caught.value.reason == "other_holder"
        assert len(server.holders(resource)) == 1


def test_the_client_says_when_its_lock_was_lost(client: LockserverClient, server: LockServer, resource: str) -> None:
    client.acquire(resource)
    server.evict(resource)
    with pytest.raises(NotHeldError):
        client.release(resource)


def test_a_lost_answer_of_a_release_is_no_loss(
    through: LockserverClient, proxy: Proxy, server: LockServer, resource: str
) -> None:
    lock = through.acquire(resource, expire=30)
    assert lock is not None
    through._bounds.cleanup = 4.0
    toxic = proxy.swallow_answers()
    running = start(lock.release)
    until(lambda: not server.holders(resource))
    proxy.heal(toxic)
    assert running.result() is True
    assert not lock.lost


@pytest.mark.parametrize("reason", ["unknown", "other_holder"])
def test_not_held_after_an_unanswered_release_counts_as_released(
    to: Callable[..., LockserverClient], reason: str
) -> None:
    script = InMemory(
        granted(expires_in=30),
        Say(0, hang_up=True),
        refused(409, "not_held", reason=reason),
    )
    lock = to(script).acquire("r", expire=30)
    assert lock is not None
    assert lock.release() is True
    assert not lock.lost
    assert script.heard[1].connection != script.heard[2].connection, "repeated on a new connection"


@pytest.mark.parametrize("reason", ["evicted", "expired"])
def test_not_held_after_an_unanswered_release_is_a_loss_where_its_reason_says_so(
    to: Callable[..., LockserverClient], reason: str
) -> None:
    script = InMemory(granted(expires_in=30), Say(0, hang_up=True), refused(409, "not_held", reason=reason))
    lock = to(script).acquire("r", expire=30)
    assert lock is not None
    assert lock.release() is False
    assert lock.lost


def test_a_release_that_is_called_again_knows_of_the_tries_before(
    to: Callable[..., LockserverClient],
) -> None:
    script = InMemory(granted(expires_in=30), otherwise=lambda _: Say(0, hang_up=True))
    client = to(script)
    client._bounds.cleanup = 0.5
    lock = client.acquire("r", expire=30)
    assert lock is not None
    with pytest.raises(ConnectionFailedError):
        lock.release()
    assert "/release" in script.paths()
    client._bounds.cleanup = 5.0
    script.script.append(refused(409, "not_held", reason="unknown"))
    assert lock.release() is True
    assert not lock.lost


def test_a_refusal_to_drain_released_nothing(to: Callable[..., LockserverClient]) -> None:
    script = InMemory(granted(expires_in=30), refused(503, "draining"), refused(409, "not_held", reason="unknown"))
    lock = to(script).acquire("r", expire=30)
    assert lock is not None
    assert lock.release() is False
    assert lock.lost


def test_not_held_without_that_is_a_loss(to: Callable[..., LockserverClient]) -> None:
    script = InMemory(granted(expires_in=30), refused(409, "not_held", reason="unknown"))
    lock = to(script).acquire("r", expire=30)
    assert lock is not None
    assert lock.release() is False


def test_a_release_is_repeated_while_the_server_cannot_store(
    to: Callable[..., LockserverClient],
) -> None:
    script = Scripted(granted(), refused(503, "store_unavailable"), Say(502, "<html>bad gateway"), released())
    lock = to(script.addr).acquire("r")
    assert lock is not None
    assert lock.release() is True
    assert script.paths() == ["/acquire", "/release", "/release", "/release"]
    assert len({request.connection for request in script.heard}) == 3, "each repetition on a new connection"
    script.close()


def test_a_release_waits_for_as_long_as_the_server_asks(to: Callable[..., LockserverClient]) -> None:
    script = InMemory(granted(), refused(503, "draining", retry_after="0.4"), released())
    lock = to(script).acquire("r")
    assert lock is not None
    began = time.monotonic()
    assert lock.release() is True
    assert time.monotonic() - began >= 0.4


def test_a_release_without_any_answer_says_so_within_its_bound(
    through: LockserverClient, proxy: Proxy, server: LockServer, resource: str
) -> None:
    through._bounds.cleanup = 0.6
    lock = through.acquire(resource)
    assert lock is not None
    proxy.cut()
    began = time.monotonic()
    with pytest.raises(ConnectionFailedError) as caught:
        lock.release()
    assert time.monotonic() - began < 3
    assert isinstance(caught.value, ConnectionError)
    proxy.mend()
    assert lock.release() is True, "it can be tried again"
    assert server.holders(resource) == []


def test_a_release_by_owner_is_never_repeated_once_it_may_have_been_sent(
    to: Callable[..., LockserverClient],
) -> None:
    script = InMemory(Say(0, hang_up=True), refused(503, "store_unavailable"))
    client = to(script)
    with pytest.raises(ConnectionFailedError):
        client.release("r")
    assert len(script.heard) == 1
    with pytest.raises(StoreUnavailableError):
        client.release("r")
    assert len(script.heard) == 2
    assert set(script.heard[0].body) == {"resource", "owner"}


def test_a_release_by_owner_is_repeated_while_nobody_listens(
    through: LockserverClient, proxy: Proxy, server: LockServer, resource: str
) -> None:
    server.take(resource, owner=through.owner)
    proxy.cut()
    running = start(through.release, resource)
    sleep(0.1)
    proxy.mend()
    assert running.result() is True
    assert server.holders(resource) == []
