"""Lost connections, restarts, proxies' answers: what is repeated, for how long, and what is left behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from support.async_tasks import InMemory, nothing_left, sleep, start, until
from support.processes import SECRET, LockServer, Port, Proxy
from support.scripted import Heard, Say, Scripted, granted, refused, released

from lockserver_client import (
    AsyncLockserverClient,
    ConnectionFailedError,
    LockTimeoutError,
)
from lockserver_client._outcome import Outcome
from lockserver_client._retry import Backoff

Make = Callable[..., AsyncLockserverClient]


async def test_a_place_in_the_queue_outlives_its_connection(
    through: AsyncLockserverClient, client: AsyncLockserverClient, proxy: Proxy, server: LockServer, resource: str
) -> None:
    server.take(resource)
    first = start(through.acquire, resource)
    await until(lambda: len(server.waiters(resource)) == 1)
    ident = server.waiters(resource)[0]["id"]
    proxy.cut()
    await until(lambda: not server.waiters(resource)[0]["present"])
    second = start(client.acquire, resource)
    await until(lambda: len(server.waiters(resource)) == 2)
    proxy.mend()
    await until(lambda: server.waiters(resource)[0]["present"])
    server.give(resource)
    lock = await first.result()
    assert lock is not None
    assert lock.id == ident
    assert not second.done()
    await lock.release()
    assert await second.result() is not None


async def test_waiting_goes_on_over_a_crash_of_the_server(own_server: LockServer, resource: str) -> None:
    async with AsyncLockserverClient(own_server.addr, secret=SECRET) as client:
        own_server.take(resource)
        waiting = start(client.acquire, resource)
        await until(lambda: len(own_server.waiters(resource)) == 1)
        own_server.kill()
        own_server.start()
        await until(lambda: len(own_server.waiters(resource)) == 1)
        own_server.give(resource)
        lock = await waiting.result()
        assert lock is not None
        assert own_server.holders(resource)[0]["token"] == lock.token


async def test_waiting_goes_on_over_a_restart_of_the_server(own_server: LockServer, resource: str) -> None:
    async with AsyncLockserverClient(own_server.addr, secret=SECRET) as client:
        held = await client.acquire(resource)
        assert held is not None
        waiting = start(client.acquire, resource)
        await until(lambda: len(own_server.waiters(resource)) == 1)
        own_server.terminate()
        own_server.start()
        assert await held.release() is True
        assert await waiting.result() is not None


async def test_what_is_passing_is_repeated_with_the_same_id(to: Make) -> None:
    script = InMemory(
        Say(0, hang_up=True),
        Say(502, "<html>bad gateway"),
        Say(504, "<html>gateway time-out"),
        refused(503, "draining"),
        refused(503, "store_unavailable"),
        refused(507, "storage_full"),
        granted(),
    )
    lock = await to(script).acquire("r")
    assert lock is not None
    assert len({request.body["id"] for request in script.heard}) == 1
    assert lock.id == script.heard[0].body["id"]


async def test_the_first_repetition_comes_at_once(to: Make) -> None:
    script = InMemory(Say(502, ""), granted())
    began = time.monotonic()
    await to(script).acquire("r")
    assert time.monotonic() - began < 0.5


async def test_retry_after_is_the_least_delay(to: Make) -> None:
    script = InMemory(refused(503, "draining", retry_after="0.4"), granted())
    client = to(script)
    began = time.monotonic()
    await client.acquire("r")
    assert time.monotonic() - began >= 0.4


async def test_retry_after_does_not_outlast_the_callers_limit(to: Make) -> None:
    script = InMemory(refused(503, "draining", retry_after="60"))
    began = time.monotonic()
    with pytest.raises(LockTimeoutError):
        await to(script).acquire("r", timeout=0.3)
    assert time.monotonic() - began < 3


async def test_a_refusal_does_not_settle_what_was_sent_before_it(to: Make) -> None:
    script = InMemory(Say(0, hang_up=True), refused(409, "locked"))
    assert await to(script).acquire("r", blocking=False) is None
    assert script.paths() == ["/acquire", "/acquire", "/release"], "the first may still arrive, so its id is cancelled"
    assert script.heard[2].body["id"] == script.heard[0].body["id"]
    script = InMemory(refused(409, "locked"))
    assert await to(script).acquire("r", blocking=False) is None
    assert script.paths() == ["/acquire"]


async def test_a_grant_that_meets_a_close_goes_back(to: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    script = InMemory(granted(expires_in=30), released())
    client = to(script)
    transport = client._here().link.transport
    send = transport.send

    async def closing(*asked: Any, **how: Any) -> Outcome:
        outcome = await send(*asked, **how)
        await client.close()
        return outcome

    monkeypatch.setattr(transport, "send", closing)
    with pytest.raises(ConnectionFailedError, match="closed"):
        await client.acquire("r", renew=True)
    acquired, back = script.heard
    assert back.path == "/release"
    assert back.body["id"] == acquired.body["id"]


async def test_a_close_while_a_connection_is_made_ends_the_call(to: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Scripted()
    client = to(script.addr)
    transport: Any = client._here().link.transport.at(client._settings.addresses[0])  # type: ignore[attr-defined]
    connect = transport._connect

    async def closing(bound: float) -> Any:
        connection = await connect(bound)
        await client.close()
        return connection

    monkeypatch.setattr(transport, "_connect", closing)
    with pytest.raises(ConnectionFailedError, match="closed"):
        await client.acquire("r")
    assert script.heard == []
    script.close()


async def test_a_used_id_is_replaced(to: Make) -> None:
    script = InMemory(refused(409, "id_used"), refused(409, "id_used"), granted())
    lock = await to(script).acquire("r")
    assert lock is not None
    idents = [request.body["id"] for request in script.heard]
    assert len(set(idents)) == 3
    assert lock.id == idents[2]


async def test_a_grant_that_is_past_its_safe_deadline_is_given_back(to: Make) -> None:
    script = InMemory(granted(token=1, expires_in=0.001), released(), granted(token=2, expires_in=30))
    lock = await to(script).acquire("r", expire=30)
    assert lock is not None
    assert lock.token == 2
    first, back, second = script.heard
    assert back.path == "/release"
    assert back.body["id"] == first.body["id"] != second.body["id"]


async def test_nobody_listening_is_said_after_the_time_without_answer(to: Make, resource: str) -> None:
    port = Port()
    client = to(f"127.0.0.1:{port.number}", silence=1.0)
    began = time.monotonic()
    with pytest.raises(ConnectionFailedError, match="refused"):
        await client.acquire(resource)
    assert 0.9 < time.monotonic() - began < 8
    port.close()


async def test_a_name_is_looked_up(server: LockServer, resource: str) -> None:
    async with AsyncLockserverClient(f"localhost:{server.port}", secret=SECRET) as client:
        assert await client.acquire(resource) is not None


async def test_a_name_that_does_not_exist_is_said(to: Make) -> None:
    with pytest.raises(ConnectionFailedError, match=r"no-such-host\.invalid"):
        await to("no-such-host.invalid:1", silence=1.0).acquire("r")
    await nothing_left(60)  # the system's resolver has bounds of its own


async def test_silence_is_bounded_where_the_caller_sets_no_limit(
    to: Make, proxy: Proxy, server: LockServer, resource: str
) -> None:
    proxy.swallow_answers()
    client = to(proxy.addr, silence=1.0, cleanup=1.0)
    began = time.monotonic()
    with pytest.raises(ConnectionFailedError):
        await client.acquire(resource)
    assert 0.9 < time.monotonic() - began < 9
    assert server.holders(resource) == [], "the grant whose answer was lost was given back"


async def test_one_that_is_queued_may_hear_nothing_for_longer(
    to: Make, proxy: Proxy, server: LockServer, resource: str
) -> None:
    server.take(resource)
    client = to(proxy.addr, hop=0.05, silence_queued=2.0, cleanup=1.0)
    waiting = start(client.acquire, resource)
    await until(lambda: (server.waiters(resource) or [{"waited": 0}])[0]["waited"] > 0.3)
    began = time.monotonic()
    proxy.cut()
    with pytest.raises(ConnectionFailedError):
        await waiting.result()
    assert 1.5 < time.monotonic() - began < 12


async def test_the_callers_limit_holds_when_no_answer_comes(
    through: AsyncLockserverClient, proxy: Proxy, server: LockServer, resource: str
) -> None:
    proxy.swallow_answers()
    through._bounds.cleanup = 0.5
    began = time.monotonic()
    with pytest.raises(LockTimeoutError) as caught:
        await through.acquire(resource, timeout=0.5)
    assert 0.5 <= time.monotonic() - began < 4
    assert isinstance(caught.value.__cause__, ConnectionFailedError)
    assert server.holders(resource) == []


async def test_a_request_that_comes_late_finds_its_id_cancelled(
    through: AsyncLockserverClient, proxy: Proxy, server: LockServer, resource: str
) -> None:
    through._bounds.answer = 0.3
    toxic = proxy.toxic("latency", "upstream", latency=700)
    with pytest.raises(LockTimeoutError):
        await through.acquire(resource, timeout=0)
    proxy.heal(toxic)
    await sleep(1.0)
    assert server.holders(resource) == []
    assert server.waiters(resource) == []


async def test_parked_waits_do_not_starve_a_release(
    client: AsyncLockserverClient, server: LockServer, resource: str
) -> None:
    held = await client.acquire(resource)
    assert held is not None

    async def work() -> None:
        async with client.lock(resource):
            pass

    waiting = [start(work) for _ in range(40)]
    await until(lambda: len(server.waiters(resource)) == 40, 30)
    began = time.monotonic()
    await held.renew()
    assert await held.release() is True
    assert time.monotonic() - began < 3
    for one in waiting:
        await one.result()


async def test_connections_are_kept(to: Make) -> None:
    script = Scripted()
    client = to(script.addr)
    for _ in range(5):
        lock = await client.acquire("r")
        assert lock is not None
        await lock.release()
    assert len({request.connection for request in script.heard}) == 1
    script.close()


async def test_an_idle_connection_that_was_closed_costs_nothing(own_server: LockServer, resource: str) -> None:
    async with AsyncLockserverClient(own_server.addr, secret=SECRET) as client:
        lock = await client.acquire(resource)
        assert lock is not None
        own_server.kill()
        own_server.start()
        assert await lock.release() is True


async def test_a_server_that_never_lets_wait_is_not_stormed(to: Make) -> None:
    def queued(request: Heard) -> Say:
        return Say(202, {"position": 1, "place_kept": 10})

    script = InMemory(otherwise=queued)
    with pytest.raises(LockTimeoutError):
        await to(script).acquire("r", timeout=0.8)
    assert script.paths().count("/acquire") < 25


async def test_grants_that_run_out_on_their_way_are_not_stormed(to: Make) -> None:
    script = InMemory(otherwise=lambda heard: granted(expires_in=0.001) if heard.path == "/acquire" else released())
    with pytest.raises(LockTimeoutError, match="run out"):
        await to(script).acquire("r", expire=0.01, timeout=1.0)
    assert 2 < script.paths().count("/acquire") < 12
    assert script.paths()[-1] == "/release", "nothing stays held"


async def test_an_attempt_that_only_ran_out_of_time_hides_nothing(
    to: Make, proxy: Proxy, server: LockServer, resource: str
) -> None:
    server.take(resource)
    through = to(proxy.addr)
    through._bounds.hop = 0.05
    through._bounds.cleanup = 0.1
    waiting = start(through.acquire, resource, timeout=1.5)
    await until(lambda: (server.waiters(resource) or [{"waited": 0}])[0]["waited"] > 0.2)
    proxy.swallow_answers()
    with pytest.raises(LockTimeoutError, match="held by somebody-else"):
        await waiting.result()


async def test_the_pauses_grow_from_nothing_to_two_seconds() -> None:
    backoff = Backoff()
    for most in (0, 0.05, 0.1, 0.2, 0.4, 0.8, 1.6, 2, 2, 2):
        pause = backoff.next()
        assert most / 2 <= pause <= most
    assert backoff.next(7.5) == 7.5, "what the server asks for is the least"
    backoff.reset()
    assert backoff.next() == 0
