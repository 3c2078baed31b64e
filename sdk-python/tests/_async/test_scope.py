"""The scoped form and the decorator."""

from __future__ import annotations

import pytest
from support.async_tasks import sleep, start, until
from support.processes import LockServer

from lockserver_client import (
    AsyncLockserverClient,
    LockedError,
    LockLostError,
    LockTimeoutError,
)


class BodyError(Exception):
    pass


async def test_a_scope_holds_a_lease_of_30_s_for_its_body(
    client: AsyncLockserverClient, server: LockServer, resource: str
) -> None:
    async with client.lock(resource, note="scoped") as lock:
        (held,) = server.holders(resource)
        assert held["token"] == lock.token
        assert 28 < held["expires_in"] <= 30
        assert held["note"] == "scoped"
        assert not lock.lost
        lock.check()
    assert server.holders(resource) == []
    assert not lock.lost


async def test_a_scope_renews_its_lease(client: AsyncLockserverClient, server: LockServer, resource: str) -> None:
    async with client.lock(resource, expire=1.5) as lock:
        await until(lambda: server.held_for(resource) > 2)
        assert not lock.lost
        (held,) = server.holders(resource)
        assert held["token"] == lock.token
        assert held["expires_in"] <= 1.5


async def test_acquire_renews_where_it_is_told_to(
    client: AsyncLockserverClient, server: LockServer, resource: str
) -> None:
    lock = await client.acquire(resource, expire=1.5, renew=True)
    default = await client.acquire(resource + "d", renew=True)
    assert lock is not None
    assert default is not None
    assert 28 < server.holders(resource + "d")[0]["expires_in"] <= 30
    await until(lambda: server.held_for(resource) > 2)
    assert not lock.lost
    assert await lock.release() is True
    assert await default.release() is True


async def test_the_bodys_error_comes_out_and_the_lock_is_released(
    client: AsyncLockserverClient, server: LockServer, resource: str
) -> None:
    with pytest.raises(BodyError):
        async with client.lock(resource):
            raise BodyError
    assert server.holders(resource) == []


async def test_the_bodys_error_is_not_hidden_by_a_loss(
    client: AsyncLockserverClient, server: LockServer, resource: str
) -> None:
    async def body() -> None:
        async with client.lock(resource):
            server.evict(resource)
            raise BodyError

    with pytest.raises(BodyError):
        await body()


async def test_a_body_that_ended_well_without_its_lock_hears_of_it(
    client: AsyncLockserverClient, server: LockServer, resource: str
) -> None:
    with pytest.raises(LockLostError, match="evicted") as caught:
        async with client.lock(resource):
            server.evict(resource)
    assert caught.value.code == "lock_lost"


async def test_a_scope_that_does_not_wait_says_who_holds(
    client: AsyncLockserverClient, server: LockServer, resource: str
) -> None:
    taken = server.take(resource, owner="the-holder", expire=60)
    with pytest.raises(LockedError) as caught:
        async with client.lock(resource, blocking=False):
            pytest.fail("the body ran without the lock")
    (holder,) = caught.value.holders
    assert holder.owner == "the-holder"
    assert holder.token == taken["token"]
    assert holder.expires_in is not None
    assert caught.value.holders_total == 1
    assert caught.value.waiters == 0


async def test_a_scope_gives_up_after_its_timeout(
    client: AsyncLockserverClient, server: LockServer, resource: str
) -> None:
    server.take(resource)
    with pytest.raises(LockTimeoutError):
        async with client.lock(resource, timeout=0.1):
            pytest.fail("the body ran without the lock")
    assert server.waiters(resource) == []


async def test_a_scope_can_be_used_again_but_not_twice_at_a_time(client: AsyncLockserverClient, resource: str) -> None:
    scope = client.lock(resource)
    async with scope as first:
        with pytest.raises(RuntimeError, match="entered already"):
            async with scope:
                pytest.fail("entered twice")
    async with scope as second:
        assert second.token > first.token


async def test_tasks_that_share_a_client_exclude_each_other(client: AsyncLockserverClient, resource: str) -> None:
    inside = 0

    async def work() -> None:
        nonlocal inside
        async with client.lock(resource):
            inside += 1
            assert inside == 1
            await sleep(0.01)
            inside -= 1

    running = [start(work) for _ in range(5)]
    for one in running:
        await one.result()


async def test_a_decorated_function_runs_as_a_body(
    client: AsyncLockserverClient, server: LockServer, resource: str
) -> None:
    @client.locked(resource, expire=5)
    async def work(factor: int, *, plus: int = 0) -> int:
        """What it does."""
        (held,) = server.holders(resource)
        assert held["expires_in"] <= 5
        assert client.current_lock().token == held["token"]
        return factor * 2 + plus

    assert await work(3, plus=1) == 7
    assert await work(4) == 8
    with pytest.raises(LookupError, match="locked"):
        client.current_lock()
    assert work.__name__ == "work"
    assert work.__doc__ == "What it does."
    assert server.holders(resource) == []


async def test_a_decorator_passes_its_options_on(
    client: AsyncLockserverClient, server: LockServer, resource: str
) -> None:
    server.take(resource)

    @client.locked(resource, blocking=False)
    async def work() -> None:
        pytest.fail("the body ran without the lock")

    with pytest.raises(LockedError):
        await work()


async def test_a_decorator_without_its_resource_says_what_is_missing(client: AsyncLockserverClient) -> None:
    async def work() -> None:
        pass

    with pytest.raises(TypeError, match=r"client\.locked"):
        client.locked(work)  # type: ignore[arg-type]


async def test_a_scope_whose_server_went_away_is_no_error(own_server: LockServer, resource: str) -> None:
    async with AsyncLockserverClient(own_server.addr, secret=own_server.secret) as client:
        client._bounds.cleanup = 0.5
        async with client.lock(resource) as lock:
            own_server.kill()
        assert not lock.lost


async def test_a_released_lock_inside_of_its_scope_is_no_error(
    client: AsyncLockserverClient, server: LockServer, resource: str
) -> None:
    async with client.lock(resource) as lock:
        assert await lock.release() is True
        assert server.holders(resource) == []


async def test_waiters_of_a_scope_go_on_when_it_ends(
    client: AsyncLockserverClient, server: LockServer, resource: str
) -> None:
    async with client.lock(resource) as first:
        waiting = start(client.acquire, resource)
        await until(lambda: len(server.waiters(resource)) == 1)
    second = await waiting.result()
    assert second is not None
    assert second.token > first.token
