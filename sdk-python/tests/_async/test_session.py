"""Sessions: one connection for all requests, which is made anew when it is cut."""

from __future__ import annotations

import itertools
from collections.abc import Callable

import pytest
from support.async_tasks import Client, nothing_left, start, until
from support.processes import SECRET, LockServer, Proxy
from support.scripted import Heard, Say, Scripted

from lockserver_client import ConfigInvalidError, ConnectionFailedError, LockTimeoutError, UnauthorizedError

Make = Callable[..., Client]


async def test_a_session_carries_everything(server: LockServer, resource: str) -> None:
    async with Client(server.addr, secret=SECRET, transport="session") as client:
        lock = await client.acquire(resource, expire=30)
        assert server.holders(resource)[0]["token"] == lock.token
        await lock.renew(60)
        assert await client.acquire(resource, blocking=False) is None
        with pytest.raises(LockTimeoutError, match="which is this very client"):
            await client.acquire(resource, timeout=0.1)
        waiting = [start(client.acquire, resource) for _ in range(10)]
        await until(lambda: len(server.waiters(resource)) == 10)
        assert await lock.release() is True
        while waiting:
            done = [one for one in waiting if one.done()]
            for one in done:
                assert await (await one.result()).release() is True
            waiting = [one for one in waiting if one not in done]
            await until(lambda: True)
        async with client.lock(resource):
            assert len(server.holders(resource)) == 1
        assert server.holders(resource) == []
    await nothing_left()


async def test_a_loss_is_told_at_once(server: LockServer, resource: str) -> None:
    async with Client(server.addr, secret=SECRET, transport="session") as client:
        lock = await client.acquire(resource)
        server.ask("DELETE", f"/lock?resource={resource}")
        await until(lambda: lock.lost)  # without a lease nothing but the server's word can end it
        assert "evicted" in str(lock._loss)
    await nothing_left()


async def test_waits_outlive_a_cut_session(proxy: Proxy, server: LockServer, resource: str) -> None:
    async with Client(proxy.addr, secret=SECRET, transport="session") as client:
        server.take(resource)
        waiting = [start(client.acquire, resource, expire=30) for _ in range(8)]
        await until(lambda: len(server.waiters(resource)) == 8)
        order = [one["id"] for one in server.waiters(resource)]
        for _ in range(2):
            proxy.cut()
            await until(lambda: not any(one["present"] for one in server.waiters(resource)))
            proxy.mend()
            await until(lambda: all(one["present"] for one in server.waiters(resource)))
        assert [one["id"] for one in server.waiters(resource)] == order
        server.give(resource)
        tokens: list[int] = []
        while len(tokens) < 8:
            await until(lambda: any(one.done() for one in waiting))
            done = next(one for one in waiting if one.done())
            waiting.remove(done)
            lock = await done.result()
            tokens.append(lock.token)
            assert await lock.release() is True
        assert all(one < other for one, other in itertools.pairwise(tokens)), "nobody held it twice"
    await nothing_left()


@pytest.mark.parametrize("status", [200, 400, 403, 404, 426, 500, 501, 502, 503])
async def test_without_sessions_there_is_http(server: LockServer, status: int) -> None:
    script = Scripted(upgrade=lambda heard: Say(status, {"code": "not_ours"}))
    async with Client(script.addr, secret=SECRET, transport="auto") as client:
        for _ in range(3):
            assert await (await client.acquire("r")).release() is True
    assert script.paths() == ["/session", *["/acquire", "/release"] * 3], "it is not asked for again soon"
    async with Client(script.addr, secret=SECRET, transport="session") as client:
        with pytest.raises(ConnectionFailedError, match=f"answered {status} to the request for a session"):
            await client.acquire("r")
    script.close()
    await nothing_left()


async def test_what_is_no_refusal_of_sessions(server: LockServer) -> None:
    async with Client(server.addr, secret="wrong", transport="auto") as client:
        with pytest.raises(UnauthorizedError):
            await client.acquire("r")
    answers = iter([Say(503, {"code": "draining"}), Say(404)])

    def upgrade(heard: Heard) -> Say:
        return next(answers)

    script = Scripted(upgrade=upgrade)
    async with Client(script.addr, secret=SECRET, transport="auto") as client:
        await client.acquire("r")
    assert script.paths()[:3] == ["/session", "/session", "/acquire"], "retried, like any request"
    script.close()
    await nothing_left()


async def test_a_transport_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigInvalidError, match="transport: 'pigeon' is not allowed; auto, session, http are"):
        Client(secret=SECRET, transport="pigeon")
