"""Release, by the lock and by the client."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from support.async_tasks import InMemory, sleep, start, until
from support.processes import SECRET, LockServer, Proxy
from support.scripted import Say, Scripted, granted, refused, released

from lockserver_client import (
    AsyncLockserverClient,
    ConnectionFailedError,
    NotHeldError,
    StoreUnavailableError,
    TokenRequiredError,
)


async def test_release_is_idempotent(client: AsyncLockserverClient, resource: str) -> None:
    lock = await client.acquire(resource)
    assert lock is not None
    assert [await lock.release() for _ in range(3)] == [True, True, True]
    assert await client.acquire(resource, blocking=False) is not None
    assert await lock.release() is True, "it does not free its successor"
    assert await client.acquire(resource, blocking=False) is None


async def test_release_by_several_at_a_time(client: AsyncLockserverClient, resource: str) -> None:
    lock = await client.acquire(resource)
    assert lock is not None
    running = [start(lock.release) for _ in range(8)]
    assert [await one.result() for one in running] == [True] * 8


async def test_release_of_an_evicted_lock_is_false(
    client: AsyncLockserverClient, server: LockServer, resource: str
) -> None:
    lock = await client.acquire(resource)
    assert lock is not None
    server.evict(resource)
    assert await lock.release() is False
    assert await lock.release() is False
    assert lock.lost


async def test_the_client_releases_its_one_lock(client: AsyncLockserverClient, resource: str) -> None:
    lock = await client.acquire(resource)
    assert lock is not None
    assert await client.release(resource) is True
    assert await lock.release() is True
    assert repr(lock).endswith("released>")
    with pytest.raises(NotHeldError):
        await client.release(resource)


async def test_the_client_does_not_choose_between_its_locks(client: AsyncLockserverClient, resource: str) -> None:
    locks = [await client.acquire(resource, limit=3) for _ in range(2)]
    with pytest.raises(TokenRequiredError):
        await client.release(resource)
    for lock in locks:
        assert lock is not None
        assert not lock.lost
        assert await lock.release()


async def test_without_a_lock_of_its_own_the_client_releases_by_owner(server: LockServer, resource: str) -> None:
    async with AsyncLockserverClient(server.addr, owner="the-team", secret=SECRET) as client:
        server.take(resource, owner="the-team")
        assert await client.release(resource) is True
        assert server.holders(resource) == []
        server.take(resource, owner="another-team")
        with pytest.raises(NotHeldError) as caught:
            await client.release(resource)
        assert caught.value.reason == "other_holder"
        assert len(server.holders(resource)) == 1


async def test_the_client_says_when_its_lock_was_lost(
    client: AsyncLockserverClient, server: LockServer, resource: str
) -> None:
    await client.acquire(resource)
    server.evict(resource)
    with pytest.raises(NotHeldError):
        await client.release(resource)


async def test_a_lost_answer_of_a_release_is_no_loss(
    through: AsyncLockserverClient, proxy: Proxy, server: LockServer, resource: str
) -> None:
    lock = await through.acquire(resource, expire=30)
    assert lock is not None
    through._bounds.cleanup = 4.0
    toxic = proxy.swallow_answers()
    running = start(lock.release)
    await until(lambda: not server.holders(resource))
    proxy.heal(toxic)
    assert await running.result() is True
    assert not lock.lost


@pytest.mark.parametrize("reason", ["unknown", "other_holder"])
async def test_not_held_after_an_unanswered_release_counts_as_released(
    to: Callable[..., AsyncLockserverClient], reason: str
) -> None:
    script = InMemory(
        granted(expires_in=30),
        Say(0, hang_up=True),
        refused(409, "not_held", reason=reason),
    )
    lock = await to(script).acquire("r", expire=30)
    assert lock is not None
    assert await lock.release() is True
    assert not lock.lost
    assert script.heard[1].connection != script.heard[2].connection, "repeated on a new connection"


@pytest.mark.parametrize("reason", ["evicted", "expired"])
async def test_not_held_after_an_unanswered_release_is_a_loss_where_its_reason_says_so(
    to: Callable[..., AsyncLockserverClient], reason: str
) -> None:
    script = InMemory(granted(expires_in=30), Say(0, hang_up=True), refused(409, "not_held", reason=reason))
    lock = await to(script).acquire("r", expire=30)
    assert lock is not None
    assert await lock.release() is False
    assert lock.lost


async def test_a_release_that_is_called_again_knows_of_the_tries_before(
    to: Callable[..., AsyncLockserverClient],
) -> None:
    script = InMemory(granted(expires_in=30), otherwise=lambda _: Say(0, hang_up=True))
    client = to(script)
    client._bounds.cleanup = 0.5
    lock = await client.acquire("r", expire=30)
    assert lock is not None
    with pytest.raises(ConnectionFailedError):
        await lock.release()
    assert "/release" in script.paths()
    client._bounds.cleanup = 5.0
    script.script.append(refused(409, "not_held", reason="unknown"))
    assert await lock.release() is True
    assert not lock.lost


async def test_a_refusal_to_drain_released_nothing(to: Callable[..., AsyncLockserverClient]) -> None:
    script = InMemory(granted(expires_in=30), refused(503, "draining"), refused(409, "not_held", reason="unknown"))
    lock = await to(script).acquire("r", expire=30)
    assert lock is not None
    assert await lock.release() is False
    assert lock.lost


async def test_not_held_without_that_is_a_loss(to: Callable[..., AsyncLockserverClient]) -> None:
    script = InMemory(granted(expires_in=30), refused(409, "not_held", reason="unknown"))
    lock = await to(script).acquire("r", expire=30)
    assert lock is not None
    assert await lock.release() is False


async def test_a_release_is_repeated_while_the_server_cannot_store(
    to: Callable[..., AsyncLockserverClient],
) -> None:
    script = Scripted(granted(), refused(503, "store_unavailable"), Say(502, "<html>bad gateway"), released())
    lock = await to(script.addr).acquire("r")
    assert lock is not None
    assert await lock.release() is True
    assert script.paths() == ["/acquire", "/release", "/release", "/release"]
    assert len({request.connection for request in script.heard}) == 3, "each repetition on a new connection"
    script.close()


async def test_a_release_waits_for_as_long_as_the_server_asks(to: Callable[..., AsyncLockserverClient]) -> None:
    script = InMemory(granted(), refused(503, "draining", retry_after="0.4"), released())
    lock = await to(script).acquire("r")
    assert lock is not None
    began = time.monotonic()
    assert await lock.release() is True
    assert time.monotonic() - began >= 0.4


async def test_a_release_without_any_answer_says_so_within_its_bound(
    through: AsyncLockserverClient, proxy: Proxy, server: LockServer, resource: str
) -> None:
    through._bounds.cleanup = 0.6
    lock = await through.acquire(resource)
    assert lock is not None
    proxy.cut()
    began = time.monotonic()
    with pytest.raises(ConnectionFailedError) as caught:
        await lock.release()
    assert time.monotonic() - began < 3
    assert isinstance(caught.value, ConnectionError)
    proxy.mend()
    assert await lock.release() is True, "it can be tried again"
    assert server.holders(resource) == []


async def test_a_release_by_owner_is_never_repeated_once_it_may_have_been_sent(
    to: Callable[..., AsyncLockserverClient],
) -> None:
    script = InMemory(Say(0, hang_up=True), refused(503, "store_unavailable"))
    client = to(script)
    with pytest.raises(ConnectionFailedError):
        await client.release("r")
    assert len(script.heard) == 1
    with pytest.raises(StoreUnavailableError):
        await client.release("r")
    assert len(script.heard) == 2
    assert set(script.heard[0].body) == {"resource", "owner"}


async def test_a_release_by_owner_is_repeated_while_nobody_listens(
    through: AsyncLockserverClient, proxy: Proxy, server: LockServer, resource: str
) -> None:
    server.take(resource, owner=through.owner)
    proxy.cut()
    running = start(through.release, resource)
    await sleep(0.1)
    proxy.mend()
    assert await running.result() is True
    assert server.holders(resource) == []
