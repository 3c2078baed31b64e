"""Sessions: one connection for all requests, which is made anew when it is cut."""

from __future__ import annotations

import itertools
import json
import os
import time
from typing import Any

import pytest
from support.async_tasks import MANY, Client, nothing_left, sleep, start, until
from support.processes import SECRET, LockServer, Proxy
from support.scripted import Heard, Say, Scripted
from support.sessions import Sessions, frame_of_server, grant, plain

from lockserver_client import ConfigInvalidError, ConnectionFailedError, LockTimeoutError, UnauthorizedError

CUTS = float(os.environ.get("LOCKSERVER_TEST_CUTS", "2"))
"""For how many seconds sessions are cut again and again."""


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


async def test_exclusion_holds_while_sessions_are_cut(proxy: Proxy, server: LockServer, resource: str) -> None:
    counts, done = [0] * 4, [0] * 64
    """What all flows count together, on four locks, and what each counts by itself."""
    end = time.monotonic() + CUTS

    async def flow(number: int) -> None:
        at = number % 4
        while time.monotonic() < end:
            async with client.lock(f"{resource}-{at}"):
                before = counts[at]
                await sleep(0)
                counts[at] = before + 1
                done[number] += 1

    async with Client(proxy.addr, secret=SECRET, transport="session") as client:
        flows = [start(flow, number) for number in range(min(MANY, 64))]
        while time.monotonic() < end:
            await sleep(0.1)
            proxy.cut()
            proxy.mend()
        for one in flows:
            await one.result(60)
    assert counts == [sum(done[at::4]) for at in range(4)], "no two were inside at once"
    assert all(counts)
    _, page = server.ask("GET", f"/locks?prefix={resource}-")
    assert page["locks"] == [], "nothing is left behind"
    await nothing_left()


@pytest.mark.parametrize(
    "bad",
    [
        frame_of_server(b"[]", 2),
        frame_of_server(b"{", 1),
        frame_of_server(b"[1]"),
        frame_of_server(b"{}"),
        frame_of_server(b"\xff\xfe"),
        b"\x81\x7f" + (1 << 40).to_bytes(8, "big"),
        b"\x81\x81aaaax",
        frame_of_server(b"\x03\xe9going away", 8),
        frame_of_server(b"", 8),
    ],
)
async def test_after_what_is_no_session_it_is_asked_again_on_another(bad: bytes) -> None:
    first = iter([True])
    sessions = Sessions(lambda heard: bad if next(first, False) else plain(heard))
    async with Client(sessions.addr, secret=SECRET, transport="session") as client:
        lock = await client.acquire("r", timeout=20)
        assert [one["id"] for one in sessions.heard] == [lock.id] * 2
        assert sessions.made == 2
        assert await lock.release() is True
    sessions.close()
    await nothing_left()


async def test_answers_in_any_order_and_in_pieces() -> None:
    kept: list[dict[str, Any]] = []

    def answer(heard: dict[str, Any]) -> bytes | dict[str, Any] | None:
        if heard["op"] != "acquire":
            return plain(heard)
        kept.append(heard)
        if len(kept) < 3:
            return None
        text = ",".join(
            f'{{"status":200,"waited":0,"expires_in":null,"token":{one["seq"]},"seq":{one["seq"]}}}'
            for one in kept[::-1]
        )
        whole = f'[{{"event":"draining"}},{{"event":"new"}},{{"seq":99,"status":200}},{text}]'.encode()
        return frame_of_server(whole[:7], final=False) + frame_of_server(b"?", 9) + frame_of_server(whole[7:], 0)

    sessions = Sessions(answer)
    async with Client(sessions.addr, secret=SECRET, transport="session") as client:
        running = [start(client.acquire, f"r{number}") for number in range(3)]
        locks = [await one.result() for one in running]
        seqs = {one["resource"]: one["seq"] for one in kept}
        assert {lock.resource: lock.token for lock in locks} == seqs
    sessions.close()
    await nothing_left()


async def test_a_loss_that_comes_before_its_lock_counts() -> None:
    def answer(heard: dict[str, Any]) -> bytes | dict[str, Any]:
        if heard["op"] != "acquire":
            return plain(heard)
        loss = {"event": "lost", "resource": "r", "token": heard["seq"], "reason": "evicted"}
        return frame_of_server(json.dumps([loss, grant(heard)]).encode())

    sessions = Sessions(answer)
    async with Client(sessions.addr, secret=SECRET, transport="session") as client:
        lock = await client.acquire("r")
        await until(lambda: lock.lost)
    sessions.close()
    await nothing_left()


async def test_one_keepalive_renews_all() -> None:
    def answer(heard: dict[str, Any]) -> dict[str, Any]:
        if heard["op"] == "keepalive":
            lost = [{"resource": "r0", "token": 1, "reason": "evicted"}] if len(sessions.heard) > 12 else []
            return {"seq": heard["seq"], "status": 200, "renewed": 10 - len(lost), "shortest": 1.5, "lost": lost}
        return grant(heard, expires_in=heard.get("expire"))

    sessions = Sessions(answer)
    client = Client(sessions.addr, secret=SECRET, transport="session")
    locks = [await client.acquire(f"r{number}", expire=4.5, renew=True) for number in range(10)]
    await until(lambda: locks[0].lost)
    asked = [one["op"] for one in sessions.heard[10:]]
    assert set(asked) == {"keepalive"}
    assert 2 < len(asked) < 20, "not one for each lock"
    assert not any(lock.lost for lock in locks[1:])
    await client.acquire("unkept", expire=4.5)
    count = len(sessions.heard)
    await until(lambda: len(sessions.heard) > count + 9)
    assert {one["op"] for one in sessions.heard[count + 1 :]} == {"renew"}, "what nobody renews is to run out"
    await client.close()
    sessions.close()
    await nothing_left()


async def test_no_keepalive_renews_a_lease_that_runs_out() -> None:
    """The server holds a lease a little longer than the client trusts it; a keepalive in between would renew it."""

    def answer(heard: dict[str, Any]) -> bytes | dict[str, Any]:
        said = grant(heard, expires_in=0.2 if heard.get("resource") == "left" else heard.get("expire"))
        if heard["op"] == "keepalive":
            said |= {"renewed": 1, "shortest": 1.5, "lost": []}
        elif heard["op"] == "renew" and [one["op"] for one in sessions.heard].count("renew") == 2:
            loss = {"event": "lost", "resource": "left", "token": left.token, "reason": "expired"}
            return frame_of_server(json.dumps([loss, said]).encode())
        return said

    sessions = Sessions(answer)
    client = Client(sessions.addr, secret=SECRET, transport="session")
    left = await client.acquire("left", expire=30)
    kept = await client.acquire("kept", expire=3, renew=True)
    await until(lambda: left.lost)
    await until(lambda: len(sessions.heard) >= 5)
    assert [one["op"] for one in sessions.heard[2:5]] == ["renew", "renew", "keepalive"]
    assert not kept.lost
    await client.close()
    sessions.close()
    await nothing_left()


async def test_no_keepalive_renews_a_lease_whose_answer_is_under_way() -> None:
    asked: list[dict[str, Any]] = []

    def answer(heard: dict[str, Any]) -> bytes | dict[str, Any] | None:
        if heard.get("resource") == "late":
            asked.append(heard)
            return None
        answers = [grant(heard), *map(grant, asked)]
        asked.clear()
        return frame_of_server(json.dumps(answers).encode())

    sessions = Sessions(answer)
    client = Client(sessions.addr, secret=SECRET, transport="session")
    await client.acquire("kept", expire=1.5, renew=True)
    await client.acquire("late", expire=30)
    assert [one["op"] for one in sessions.heard] == ["acquire", "acquire", "renew"]
    await client.close()
    sessions.close()
    await nothing_left()


async def test_a_new_session_takes_leases_over() -> None:
    sessions = Sessions()
    client = Client(sessions.addr, secret=SECRET, transport="session")
    locks = [await client.acquire(f"r{number}", renew=True) for number in range(5)]
    transport = client._here().link.transport
    sessions.cut()
    await until(lambda: transport.session() is None)
    other = await client.acquire("other")
    await until(lambda: len(sessions.heard) == 11)
    renewed = [one for one in sessions.heard if one["op"] == "renew"]
    assert {one["id"] for one in renewed} == {lock.id for lock in locks}
    assert max(sessions.messages) >= 5, "in one message"
    assert not other.lost
    await client.close()
    sessions.close()
    await nothing_left()
