# Generated from tests/_async/test_acquire.py by tools/generate.py; change that one.
"""Blocking, non-blocking and bounded acquisition, against a real server."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, assert_type

import pytest
from support.processes import SECRET, LockServer, Port
from support.scripted import Say, granted, refused
from support.sync_tasks import InMemory, start, until

from lockserver_client import (
    ConfigInvalidError,
    Holder,
    InvalidRequestError,
    LimitMismatchError,
    Lock,
    LockserverClient,
    LockserverError,
    LockTimeoutError,
    UnauthorizedError,
)


def test_a_lock_excludes_until_it_is_released(client: LockserverClient, other: LockserverClient, resource: str) -> None:
    lock = client.acquire(resource)
    assert isinstance(lock, Lock)
    assert lock
    assert other.acquire(resource, blocking=False) is None
    assert client.acquire(resource, False) is None, "no re-entry under the same owner"
    assert lock.release() is True
    second = other.acquire(resource, blocking=False)
    assert second is not None
    assert second.token > lock.token


def test_types_know_that_only_a_call_that_does_not_block_gives_none(client: LockserverClient, resource: str) -> None:
    assert_type(client.acquire(resource, True, 30), Lock)
    assert_type(client.acquire(resource, blocking=False), Lock | None)
    assert_type(client.acquire(resource, not client), Lock | None)


def test_a_lock_tells_what_it_is(client: LockserverClient, server: LockServer, resource: str) -> None:
    lock = client.acquire(resource, expire=60, note="for a test")
    assert lock is not None
    (held,) = server.holders(resource)
    assert (lock.resource, lock.owner, lock.id, lock.token) == (resource, held["owner"], held["id"], held["token"])
    assert lock.owner == client.owner
    assert lock.mode == "exclusive"
    assert lock.limit is None
    assert held["note"] == "for a test"
    assert lock.expires_in is not None
    assert 58 < lock.expires_in < 60
    assert held["expires_in"] > lock.expires_in - 1


def test_without_expire_it_is_held_until_released(client: LockserverClient, server: LockServer, resource: str) -> None:
    lock = client.acquire(resource)
    assert lock is not None
    assert lock.expires_in is None
    assert server.holders(resource)[0]["expires_in"] is None


def test_a_lease_runs_out(client: LockserverClient, other: LockserverClient, resource: str) -> None:
    began = time.monotonic()
    lock = client.acquire(resource, expire=0.3)
    assert lock is not None
    assert other.acquire(resource) is not None
    assert 0.3 <= time.monotonic() - began < 5
    assert lock.lost
    assert lock.expires_in == 0.0


def test_waiters_come_in_order(client: LockserverClient, server: LockServer, resource: str) -> None:
    server.take(resource)
    order: list[int] = []

    def wait(number: int) -> None:
        lock = client.acquire(resource)
        order.append(number)
        assert lock is not None
        lock.release()

    running = []
    for number in range(5):
        running.append(start(wait, number))
        until(lambda: len(server.waiters(resource)) == len(running))
    server.give(resource)
    for one in running:
        one.result()
    assert order == [0, 1, 2, 3, 4]


def test_a_wait_of_several_hops_keeps_its_place(client: LockserverClient, server: LockServer, resource: str) -> None:
    client._bounds.hop = 0.05
    server.take(resource)
    waiting = start(client.acquire, resource)
    until(lambda: len(server.waiters(resource)) == 1)
    ident = server.waiters(resource)[0]["id"]
    until(lambda: server.waiters(resource)[0]["waited"] > 0.5)
    assert server.waiters(resource)[0]["id"] == ident
    server.give(resource)
    lock = waiting.result()
    assert lock is not None
    assert lock.id == ident


def test_timeout_ends_the_wait_and_leaves_the_queue(
    client: LockserverClient, server: LockServer, resource: str
) -> None:
    server.take(resource)
    began = time.monotonic()
    with pytest.raises(LockTimeoutError, match=r"within 0\.3 s") as caught:
        client.acquire(resource, timeout=0.3)
    assert 0.3 <= time.monotonic() - began < 3
    assert isinstance(caught.value, TimeoutError)
    assert caught.value.code == "lock_timeout"
    assert server.waiters(resource) == []


def test_timeout_0_is_one_try(client: LockserverClient, server: LockServer, resource: str) -> None:
    lock = client.acquire(resource, timeout=0)
    assert lock is not None
    lock.release()
    server.take(resource)
    with pytest.raises(LockTimeoutError):
        client.acquire(resource, timeout=0)
    assert server.waiters(resource) == []


def test_a_timeout_says_who_holds_it(client: LockserverClient, server: LockServer, resource: str) -> None:
    server.take(resource, owner="somebody", limit=3)
    server.take(resource, owner="another", limit=3)
    server.take(resource, owner="third", limit=3)
    with pytest.raises(LockTimeoutError) as caught:
        client.acquire(resource, limit=3, timeout=1)
    told = rf'resource "{resource}" was not granted within 1 s: held by somebody for \d(\.\d)? s and 2 others'
    assert re.fullmatch(told, str(caught.value))
    assert [holder.owner for holder in caught.value.holders] == ["somebody", "another", "third"]
    assert caught.value.holders_total == 3
    assert caught.value.holders[0].held_for is not None
    assert caught.value.holders[0].held_for < 20
    with pytest.raises(LockTimeoutError, match=r"within 0 s: held by somebody for"):
        client.acquire(resource, limit=3, timeout=0)


def test_a_timeout_says_that_this_very_client_holds_it(client: LockserverClient, resource: str) -> None:
    client.acquire(resource)
    with pytest.raises(LockTimeoutError, match=r"held by .* for \d(\.\d)? s, which is this very client$") as caught:
        client.acquire(resource, timeout=1)
    assert caught.value.holders[0].owner == client.owner


def test_a_timeout_says_what_stood_in_the_way_last(to: Callable[..., LockserverClient]) -> None:
    holder = {"owner": "o", "token": 3, "held_for": 12.3, "expires_in": None}
    queued = Say(202, {"position": 1, "place_kept": 10, "holders": [holder], "holders_total": 1, "waiters": 1})
    script = InMemory(queued, otherwise=lambda heard: refused(503, "draining"))
    client = to(script, cleanup=0.1)
    with pytest.raises(LockTimeoutError, match=r"memory answered 503 draining$") as caught:
        client.acquire("r", timeout=0.3)
    assert caught.value.holders == (Holder("o", 3, None, 12.3),), "who was known last"
    script.script[:] = [queued] * 99
    with pytest.raises(LockTimeoutError, match=r"held by o for 12 s$"):
        client.acquire("r", timeout=0.3)
    port = Port()
    with LockserverClient(f"127.0.0.1:{port.number}", secret=SECRET) as client:
        with pytest.raises(LockTimeoutError, match=f"connection refused by 127.0.0.1:{port.number}$"):
            client.acquire("r", timeout=0.3)
    port.close()


def test_durations_may_be_timedeltas(client: LockserverClient, server: LockServer, resource: str) -> None:
    lock = client.acquire(resource, expire=timedelta(minutes=1), timeout=timedelta(seconds=20))
    assert lock is not None
    assert lock.expires_in is not None
    assert 50 < lock.expires_in < 60
    lock.renew(timedelta(minutes=2))
    assert 110 < lock.expires_in < 120
    with pytest.raises(LockTimeoutError, match=r"within 0\.1 s"):
        with client.lock(resource, expire=timedelta(seconds=9), timeout=timedelta(milliseconds=100)):
            pass

    @client.locked(resource, timeout=timedelta(0))
    def body() -> None:
        pass

    with pytest.raises(LockTimeoutError, match="within 0 s"):
        body()
    with pytest.raises(ConfigInvalidError, match=r"^timeout: .* from 0 up .*, not .*timedelta"):
        client.acquire(resource, timeout=timedelta(seconds=-1))


@pytest.mark.parametrize(
    ("name", "needed", "error"),
    [("expire", "timedelta", InvalidRequestError), ("timeout", "timedelta from 0 up", ConfigInvalidError)],
)
@pytest.mark.parametrize(
    ("value", "shown"), [("30", "str '30'"), (b"5", "bytes b'5'"), ([1], r"list \[1\]"), (True, "bool True")]
)
def test_a_duration_of_another_type_is_named_with_its_type(
    client: LockserverClient, name: str, needed: str, error: type[LockserverError], value: Any, shown: str
) -> None:
    told = f"^{name}: a number of seconds or a {needed} is needed, or None, not {shown}$"
    with pytest.raises(error, match=told):
        client.acquire("r", **{name: value})
    with pytest.raises(error, match=told):
        client.lock("r", **{name: value})


def test_readers_share_and_a_writer_does_not(client: LockserverClient, resource: str) -> None:
    first = client.acquire(resource, mode="shared")
    second = client.acquire(resource, blocking=False, mode="shared")
    assert first is not None
    assert second is not None
    assert second.mode == "shared"
    assert client.acquire(resource, blocking=False) is None
    first.release()
    second.release()
    assert client.acquire(resource, blocking=False) is not None


def test_a_semaphore_has_so_many_permits(client: LockserverClient, resource: str) -> None:
    locks = [client.acquire(resource, blocking=False, limit=2) for _ in range(3)]
    assert [lock is not None for lock in locks] == [True, True, False]
    assert locks[0] is not None
    assert locks[0].limit == 2
    assert locks[0].mode is None
    with pytest.raises(LimitMismatchError):
        client.acquire(resource, limit=3)


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"resource": ""}, "resource"),
        ({"resource": "a\nb"}, "resource"),
        ({"resource": "a" * 513}, "resource"),
        ({"resource": "\ud800"}, "resource"),
        ({"resource": 7}, "resource"),
        ({"expire": 0}, "expire"),
        ({"expire": -1}, "expire"),
        ({"expire": float("nan")}, "expire"),
        ({"expire": 10**400}, "expire"),
        ({"expire": "30"}, "expire"),
        ({"expire": 1e10}, "expire"),
        ({"mode": "both"}, "mode"),
        ({"limit": 0}, "limit"),
        ({"note": "n" * 1025}, "note"),
        ({"note": 5}, "note"),
    ],
)
def test_an_argument_that_is_not_allowed_is_named(
    client: LockserverClient, arguments: dict[str, Any], field: str
) -> None:
    with pytest.raises(InvalidRequestError, match=field) as caught:
        client.acquire(**{"resource": "r", **arguments})
    assert caught.value.field == field
    assert isinstance(caught.value, ValueError)


def test_a_lease_too_short_to_be_safe_is_refused_before_it_is_sent(
    to: Callable[..., LockserverClient],
) -> None:
    script = InMemory(otherwise=lambda heard: granted(expires_in=1000))
    client = to(script)
    lock = client.acquire("r", expire=1000)
    assert lock is not None
    for expire in (0, 0.001, 0.00202):
        told = f"^expire: more seconds than the 1 % and 2 ms .* or None, not {expire}$"
        with pytest.raises(InvalidRequestError, match=told) as caught:
            client.acquire("r", expire=expire)
        assert caught.value.field == "expire"
        with pytest.raises(InvalidRequestError, match=told):
            client.lock("r", expire=expire)
        with pytest.raises(InvalidRequestError, match=told):
            lock.renew(expire)
    assert script.paths() == ["/acquire"]
    assert client.acquire("r", expire=0.00203) is not None
    lock.renew(0.00203)


def test_a_timeout_that_cannot_be_is_refused(client: LockserverClient) -> None:
    for timeout in (-1, float("inf"), float("nan")):
        with pytest.raises(ConfigInvalidError, match=r"timeout: .* from 0 up"):
            client.acquire("r", timeout=timeout)
    with pytest.raises(ConfigInvalidError, match="timeout"):
        client.acquire("r", blocking=False, timeout=1)
    with pytest.raises(ConfigInvalidError, match="timeout"):
        client.lock("r", blocking=False, timeout=1)


def test_a_wrong_secret_is_said_at_once(server: LockServer, resource: str) -> None:
    with LockserverClient(server.addr, secret="not-the-secret-at-all") as client:
        began = time.monotonic()
        with pytest.raises(UnauthorizedError) as caught:
            client.acquire(resource)
        assert time.monotonic() - began < 5
        assert caught.value.status == 401
        assert "not-the-secret-at-all" not in repr(caught.value) + str(caught.value) + repr(vars(client))


def test_close_ends_what_waits(client: LockserverClient, server: LockServer, resource: str) -> None:
    server.take(resource)
    waiting = start(client.acquire, resource)
    until(lambda: len(server.waiters(resource)) == 1)
    client.close()
    assert server.waiters(resource) == [], "close returns when what it ends has ended"
    with pytest.raises(LockserverError, match="closed") as caught:
        waiting.result()
    assert caught.value.code == "connection_failed"
    with pytest.raises(LockserverError, match="closed"):
        client.acquire(resource)


def test_a_lock_can_be_released_after_close(client: LockserverClient, server: LockServer, resource: str) -> None:
    kept = client.acquire(resource)
    renewed = client.acquire(resource + "r", renew=True)
    assert kept is not None
    assert renewed is not None
    client.close()
    assert not kept.lost
    assert renewed.lost, "nobody renews it any more"
    assert kept.release() is True
    assert renewed.release() is False
    assert server.holders(resource) == server.holders(resource + "r") == []


def test_arguments_that_no_request_can_carry_are_refused_by_name(client: LockserverClient) -> None:
    for limit in (float("nan"), True, "3"):
        with pytest.raises(InvalidRequestError) as caught:
            client.acquire("r", limit=limit)  # type: ignore[arg-type]
        assert caught.value.field == "limit"
    wrong: list[Any] = [5, [], "\ud800"]
    for resource in wrong:
        with pytest.raises(InvalidRequestError) as caught:
            client.release(resource)
        assert caught.value.field == "resource"
