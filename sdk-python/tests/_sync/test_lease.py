# Generated from tests/_async/test_lease.py by tools/generate.py; change that one.
"""Renewal, the safe deadline and loss."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from support.processes import LockServer, Proxy
from support.scripted import Say, granted, refused
from support.sync_tasks import InMemory, sleep, start, until

from lockserver_client import LockLostError, LockserverClient, NotHeldError


def test_a_lease_that_nobody_renews_is_lost_when_it_ends(client: LockserverClient, resource: str) -> None:
    lock = client.acquire(resource, expire=0.5)
    assert lock is not None
    until(lambda: lock.lost)
    with pytest.raises(LockLostError, match=resource) as caught:
        lock.check()
    assert caught.value.code == "lock_lost"
    assert lock.release() is False
    with pytest.raises(LockLostError):
        lock.renew()


def test_the_trust_ends_1_percent_and_2_ms_before_the_lease(client: LockserverClient, resource: str) -> None:
    lock = client.acquire(resource, expire=1000)
    assert lock is not None
    client._clock.monotonic_ahead = client._clock.wall_ahead = 975
    assert not lock.lost
    client._clock.monotonic_ahead = client._clock.wall_ahead = 989.998
    assert lock.lost


def test_the_deadline_counts_from_the_sending(through: LockserverClient, proxy: Proxy, resource: str) -> None:
    proxy.toxic("latency", latency=400)
    lock = through.acquire(resource, expire=10)
    assert lock is not None
    assert lock.expires_in is not None
    assert lock.expires_in < 9.6 * 0.99


def test_the_wait_on_the_server_is_not_part_of_the_lease(to: Callable[..., LockserverClient]) -> None:
    script = InMemory(granted(expires_in=10, waited=5))
    lock = to(script).acquire("r", expire=10)
    assert lock is not None
    assert lock.expires_in is not None
    assert 14 < lock.expires_in < 15


@pytest.mark.parametrize("clock", ["monotonic", "wall"])
def test_either_clock_ends_the_trust(client: LockserverClient, resource: str, clock: str) -> None:
    lock = client.acquire(resource, expire=100)
    assert lock is not None
    setattr(client._clock, f"{clock}_ahead", 90)
    assert not lock.lost
    setattr(client._clock, f"{clock}_ahead", 99.5)
    assert lock.lost
    setattr(client._clock, f"{clock}_ahead", 0)
    assert lock.lost, "a loss is final"
    assert lock.release() is False


def test_renew_lengthens_and_never_shortens(client: LockserverClient, server: LockServer, resource: str) -> None:
    lock = client.acquire(resource, expire=20)
    assert lock is not None
    lock.renew(100)
    assert lock.expires_in is not None
    assert 97 < lock.expires_in < 100
    lock.renew(1)
    lock.renew()
    assert 97 < lock.expires_in < 100
    assert 97 < server.holders(resource)[0]["expires_in"] < 100


def test_renew_of_a_lock_without_a_lease_leaves_it_without(client: LockserverClient, resource: str) -> None:
    lock = client.acquire(resource)
    assert lock is not None
    lock.renew(5)
    assert lock.expires_in is None


def test_renew_after_release_is_not_held(client: LockserverClient, resource: str) -> None:
    lock = client.acquire(resource, expire=20)
    assert lock is not None
    lock.release()
    with pytest.raises(NotHeldError, match="released"):
        lock.renew()
    lock.check()
    assert not lock.lost


def test_an_eviction_is_told_by_the_next_renewal(client: LockserverClient, server: LockServer, resource: str) -> None:
    lock = client.acquire(resource, expire=3, renew=True)
    assert lock is not None
    server.evict(resource)
    assert not lock.lost
    until(lambda: lock.lost)
    with pytest.raises(LockLostError, match="evicted"):  # told by the server, before the deadline
        lock.check()


def test_renew_tells_of_an_eviction(client: LockserverClient, server: LockServer, resource: str) -> None:
    lock = client.acquire(resource)
    assert lock is not None
    server.evict(resource)
    with pytest.raises(LockLostError, match="evicted"):
        lock.renew()
    assert lock.lost


def test_nothing_is_acquired_again_after_a_loss(client: LockserverClient, server: LockServer, resource: str) -> None:
    lock = client.acquire(resource, expire=0.3, renew=True)
    assert lock is not None
    server.evict(resource)
    until(lambda: lock.lost)
    sleep(0.3)
    assert server.holders(resource) == []


def test_a_stale_lock_cannot_free_its_successor(client: LockserverClient, server: LockServer, resource: str) -> None:
    lock = client.acquire(resource)
    assert lock is not None
    server.evict(resource)
    taken = server.take(resource, owner=client.owner)
    assert lock.release() is False
    assert server.holders(resource)[0]["token"] == taken["token"]


def test_a_short_outage_is_no_loss(through: LockserverClient, proxy: Proxy, server: LockServer, resource: str) -> None:
    lock = through.acquire(resource, expire=3, renew=True)
    assert lock is not None
    proxy.cut()
    until(lambda: server.held_for(resource) > 1.5)
    assert not lock.lost
    proxy.mend()
    until(lambda: server.held_for(resource) > 3.5)
    assert not lock.lost
    assert len(server.holders(resource)) == 1


def test_an_outage_is_a_loss_at_the_safe_deadline(through: LockserverClient, proxy: Proxy, resource: str) -> None:
    began = time.monotonic()
    lock = through.acquire(resource, expire=1.0, renew=True)
    assert lock is not None
    proxy.cut()
    until(lambda: lock.lost)
    assert 0.98 < time.monotonic() - began < 5
    with pytest.raises(LockLostError, match="lease ran out"):
        lock.check()


def test_a_renewal_whose_connection_went_dead_uses_a_new_one(
    through: LockserverClient, proxy: Proxy, server: LockServer, resource: str
) -> None:
    lock = through.acquire(resource, expire=3.6, renew=True)
    assert lock is not None

    def renewed() -> bool:
        (held,) = server.holders(resource)
        return bool(held["held_for"] > 0.8 and held["expires_in"] > 3)

    toxic = proxy.swallow_answers()
    until(renewed)
    proxy.heal(toxic)
    until(lambda: server.held_for(resource) > 4)
    assert not lock.lost


def test_refusals_that_may_pass_are_no_loss(
    to: Callable[..., LockserverClient],
) -> None:
    script = InMemory(
        granted(expires_in=3),
        Say(500, {"code": "internal", "title": "bad luck"}),
        Say(401, {"code": "unauthorized", "title": "not now"}),
        Say(503, "out of order"),
        Say(200, {"hello": "world"}),
        otherwise=lambda heard: granted(expires_in=3, outcome="released"),
    )
    lock = to(script).acquire("r", expire=3, renew=True)
    assert lock is not None
    until(lambda: len(script.heard) >= 6)
    assert not lock.lost
    assert script.heard[2].at - script.heard[1].at < 0.8, "repeated at once, not only when the next renewal is due"
    assert lock.release() is True


def test_what_a_renewal_says_about_the_lease_counts(to: Callable[..., LockserverClient]) -> None:
    script = InMemory(
        granted(expires_in=30), refused(409, "not_held", reason="expired"), otherwise=lambda heard: granted()
    )
    lock = to(script).acquire("r", expire=0.6, renew=True)
    assert lock is not None
    until(lambda: lock.lost)
    with pytest.raises(LockLostError, match="expired"):
        lock.check()
    count = len(script.heard)
    sleep(0.5)
    assert len(script.heard) == count, "a lost lock is not renewed"


def test_released_while_a_renewal_is_under_way(
    through: LockserverClient, proxy: Proxy, server: LockServer, resource: str
) -> None:
    lock = through.acquire(resource, renew=True)
    assert lock is not None
    proxy.toxic("latency", latency=300)
    renewed = start(lock.renew, 60)
    until(lambda: server.holders(resource)[0]["expires_in"] > 50)
    assert lock.release() is True
    try:
        renewed.result()
    except NotHeldError:
        pass
    assert not lock.lost
    assert server.holders(resource) == []
