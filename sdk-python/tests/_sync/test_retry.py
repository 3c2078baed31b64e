# Generated from tests/_async/test_retry.py by tools/generate.py; change that one.
"""Lost connections, restarts, proxies' answers: what is repeated, for how long, and what is left behind."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from support.processes import SECRET, LockServer, Port, Proxy
from support.scripted import Heard, Say, Scripted, granted, refused, released
from support.sync_tasks import nothing_left, sleep, start, until

from lockserver_client import (
    ConnectionFailedError,
    Holder,
    InternalError,
    InvalidRequestError,
    LockedError,
    LockserverClient,
    LockserverError,
    LockTimeoutError,
    NotFoundError,
    TooManyWaitersError,
)
from lockserver_client._wire import Answer, TransportError

Make = Callable[..., LockserverClient]


def test_a_place_in_the_queue_outlives_its_connection(
    through: LockserverClient, client: LockserverClient, proxy: Proxy, server: LockServer, resource: str
) -> None:
    server.take(resource)
    first = start(through.acquire, resource)
    until(lambda: len(server.waiters(resource)) == 1)
    ident = server.waiters(resource)[0]["id"]
    proxy.cut()
    until(lambda: not server.waiters(resource)[0]["present"])
    second = start(client.acquire, resource)
    until(lambda: len(server.waiters(resource)) == 2)
    proxy.mend()
    until(lambda: server.waiters(resource)[0]["present"])
    server.give(resource)
    lock = first.result()
    assert lock is not None
    assert lock.id == ident
    assert not second.done()
    lock.release()
    assert second.result() is not None


def test_waiting_goes_on_over_a_crash_of_the_server(own_server: LockServer, resource: str) -> None:
    with LockserverClient(own_server.addr, secret=SECRET) as client:
        own_server.take(resource)
        waiting = start(client.acquire, resource)
        until(lambda: len(own_server.waiters(resource)) == 1)
        own_server.kill()
        own_server.start()
        until(lambda: len(own_server.waiters(resource)) == 1)
        own_server.give(resource)
        lock = waiting.result()
        assert lock is not None
        assert own_server.holders(resource)[0]["token"] == lock.token


def test_waiting_goes_on_over_a_restart_of_the_server(own_server: LockServer, resource: str) -> None:
    with LockserverClient(own_server.addr, secret=SECRET) as client:
        held = client.acquire(resource)
        assert held is not None
        waiting = start(client.acquire, resource)
        until(lambda: len(own_server.waiters(resource)) == 1)
        own_server.terminate()
        own_server.start()
        assert held.release() is True
        assert waiting.result() is not None


def test_what_is_passing_is_repeated_with_the_same_id(to: Make) -> None:
    script = Scripted(
        Say(0, hang_up=True),
        Say(502, "<html>bad gateway"),
        Say(504, "<html>gateway time-out"),
        refused(503, "draining"),
        refused(503, "store_unavailable"),
        granted(),
    )
    lock = to(script.addr).acquire("r")
    assert lock is not None
    assert len({request.body["id"] for request in script.heard}) == 1
    assert lock.id == script.heard[0].body["id"]
    script.close()


def test_the_first_repetition_comes_at_once(to: Make) -> None:
    script = Scripted(Say(502, ""), granted())
    began = time.monotonic()
    to(script.addr).acquire("r")
    assert time.monotonic() - began < 0.5
    script.close()


def test_retry_after_is_the_least_delay(to: Make) -> None:
    script = Scripted(refused(503, "draining", retry_after="0.4"), granted())
    client = to(script.addr)
    began = time.monotonic()
    client.acquire("r")
    assert time.monotonic() - began >= 0.4
    script.close()


def test_retry_after_does_not_outlast_the_callers_limit(to: Make) -> None:
    script = Scripted(refused(503, "draining", retry_after="60"))
    began = time.monotonic()
    with pytest.raises(LockTimeoutError):
        to(script.addr).acquire("r", timeout=0.3)
    assert time.monotonic() - began < 3
    script.close()


@pytest.mark.parametrize(
    ("say", "kind", "code"),
    [
        (refused(429, "too_many_waiters", retry_after="1"), TooManyWaitersError, "too_many_waiters"),
        (refused(500, "internal"), InternalError, "internal"),
        (Say(404, "<html>no such page"), NotFoundError, "not_found"),
        (Say(200, "<html>welcome to the hotel"), ConnectionFailedError, "connection_failed"),
        (Say(200, {"hello": "world"}), ConnectionFailedError, "connection_failed"),
        (Say(200, '{"token": 1e999}'), ConnectionFailedError, "connection_failed"),
        (Say(200, {"token": 1, "expires_in": "soon"}), ConnectionFailedError, "connection_failed"),
        (Say(200, "[" * 100_000), ConnectionFailedError, "connection_failed"),
        (Say(301, "", {"Location": "http://elsewhere/"}), ConnectionFailedError, "connection_failed"),
        (refused(418, "teapot"), LockserverError, "teapot"),
    ],
)
def test_what_no_repetition_cures_is_raised_at_once(to: Make, say: Say, kind: type[LockserverError], code: str) -> None:
    script = Scripted(say)
    with pytest.raises(kind) as caught:
        to(script.addr).acquire("r")
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert caught.value.status == say.status
    # A refusal took nothing; what any other answer left is given back.
    assert script.paths() == (["/acquire"] if 400 <= say.status < 500 else ["/acquire", "/release"])
    script.close()


def test_a_refusal_with_members_of_other_types_is_that_refusal(to: Make) -> None:
    script = Scripted(
        refused(409, "locked", holders=[None, {"owner": 7, "token": "x", "expires_in": "y"}], waiters="many"),
        refused(409, "locked", holders=7),
        refused(400, "invalid_request", field=["expire"]),
    )
    client = to(script.addr)
    with pytest.raises(LockedError) as caught:
        with client.lock("r", blocking=False):
            pass
    assert caught.value.holders == (Holder("", 0, None), Holder("7", 0, None))
    assert (caught.value.holders_total, caught.value.waiters) == (2, 0)
    assert client.acquire("r", blocking=False) is None
    with pytest.raises(InvalidRequestError):
        client.acquire("r")
    script.close()


@pytest.mark.parametrize("retry_after", ["nan", "inf", "1e300", "Fri, 31 Dec 9999 23:59:59 GMT", "soon"])
def test_any_retry_after_leaves_the_callers_limit(to: Make, retry_after: str) -> None:
    script = Scripted(otherwise=lambda heard: refused(503, "draining", retry_after=retry_after))
    with pytest.raises(LockTimeoutError):
        to(script.addr, release=0.1).acquire("r", timeout=0.2)
    script.close()


@pytest.mark.parametrize(
    "body", ["you sent {}", '{{"code": "odd", "detail": "you sent {}"}}', '{{"code": "you sent {}"}}']
)
def test_an_echo_of_the_secret_does_not_show(to: Make, body: str) -> None:
    script = Scripted(Say(400, body.format(SECRET)))
    with pytest.raises(LockserverError) as caught:
        to(script.addr).acquire("r")
    assert "you sent …" in f"{caught.value} {caught.value.code}"
    assert SECRET not in f"{caught.value!r} {caught.value} {vars(caught.value)}"
    script.close()


def test_a_refusal_does_not_settle_what_was_sent_before_it(to: Make) -> None:
    script = Scripted(Say(0, hang_up=True), refused(409, "locked"))
    assert to(script.addr).acquire("r", blocking=False) is None
    assert script.paths() == ["/acquire", "/acquire", "/release"], "the first may still arrive, so its id is cancelled"
    assert script.heard[2].body["id"] == script.heard[0].body["id"]
    script.close()
    script = Scripted(refused(409, "locked"))
    assert to(script.addr).acquire("r", blocking=False) is None
    assert script.paths() == ["/acquire"]
    script.close()


def test_a_grant_that_meets_a_close_goes_back(to: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Scripted(granted(expires_in=30), released())
    client = to(script.addr)
    transport = client._core().transport
    post = transport.post

    def closing(path: str, body: bytes, **how: Any) -> Answer:
        answer = post(path, body, **how)
        client.close()
        return answer

    monkeypatch.setattr(transport, "post", closing)
    with pytest.raises(ConnectionFailedError, match="closed"):
        client.acquire("r", renew=True)
    acquired, back = script.heard
    assert back.path == "/release"
    assert back.body["id"] == acquired.body["id"]
    script.close()


def test_a_close_while_a_connection_is_made_ends_the_call(to: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    script = Scripted()
    client = to(script.addr)
    transport = client._core().transport
    connect = transport._connect

    def closing(bound: float) -> Any:
        connection = connect(bound)
        client.close()
        return connection

    monkeypatch.setattr(transport, "_connect", closing)
    with pytest.raises(ConnectionFailedError, match="closed"):
        client.acquire("r")
    assert script.heard == []
    script.close()


def test_a_used_id_is_replaced(to: Make) -> None:
    script = Scripted(refused(409, "id_used"), refused(409, "id_used"), granted())
    lock = to(script.addr).acquire("r")
    assert lock is not None
    idents = [request.body["id"] for request in script.heard]
    assert len(set(idents)) == 3
    assert lock.id == idents[2]
    script.close()


def test_a_grant_that_is_past_its_safe_deadline_is_given_back(to: Make) -> None:
    script = Scripted(granted(token=1, expires_in=0.001), released(), granted(token=2, expires_in=30))
    lock = to(script.addr).acquire("r", expire=30)
    assert lock is not None
    assert lock.token == 2
    first, back, second = script.heard
    assert back.path == "/release"
    assert back.body["id"] == first.body["id"] != second.body["id"]
    script.close()


def test_nobody_listening_is_said_after_the_time_without_answer(to: Make, resource: str) -> None:
    port = Port()
    client = to(f"127.0.0.1:{port.number}", unanswered=1.0)
    began = time.monotonic()
    with pytest.raises(ConnectionFailedError, match="refused"):
        client.acquire(resource)
    assert 0.9 < time.monotonic() - began < 8
    port.close()


def test_a_name_is_looked_up(server: LockServer, resource: str) -> None:
    with LockserverClient(f"localhost:{server.port}", secret=SECRET) as client:
        assert client.acquire(resource) is not None


def test_a_name_that_does_not_exist_is_said(to: Make) -> None:
    with pytest.raises(ConnectionFailedError, match=r"no-such-host\.invalid"):
        to("no-such-host.invalid:1", unanswered=1.0).acquire("r")
    nothing_left(60)  # the system's resolver has bounds of its own


def test_silence_is_bounded_where_the_caller_sets_no_limit(
    to: Make, proxy: Proxy, server: LockServer, resource: str
) -> None:
    proxy.swallow_answers()
    client = to(proxy.addr, unanswered=1.0, release=1.0)
    began = time.monotonic()
    with pytest.raises(ConnectionFailedError):
        client.acquire(resource)
    assert 0.9 < time.monotonic() - began < 9
    assert server.holders(resource) == [], "the grant whose answer was lost was given back"


def test_one_that_is_queued_may_hear_nothing_for_longer(
    to: Make, proxy: Proxy, server: LockServer, resource: str
) -> None:
    server.take(resource)
    client = to(proxy.addr, hop=0.05, unanswered_queued=2.0, release=1.0)
    waiting = start(client.acquire, resource)
    until(lambda: (server.waiters(resource) or [{"waited": 0}])[0]["waited"] > 0.3)
    began = time.monotonic()
    proxy.cut()
    with pytest.raises(ConnectionFailedError):
        waiting.result()
    assert 1.5 < time.monotonic() - began < 12


def test_the_callers_limit_holds_when_no_answer_comes(
    through: LockserverClient, proxy: Proxy, server: LockServer, resource: str
) -> None:
    proxy.swallow_answers()
    through._bounds.release = 0.5
    began = time.monotonic()
    with pytest.raises(LockTimeoutError) as caught:
        through.acquire(resource, timeout=0.5)
    assert 0.5 <= time.monotonic() - began < 4
    assert isinstance(caught.value.__cause__, ConnectionFailedError)
    assert server.holders(resource) == []


def test_a_request_that_comes_late_finds_its_id_cancelled(
    through: LockserverClient, proxy: Proxy, server: LockServer, resource: str
) -> None:
    through._bounds.answer = 0.3
    toxic = proxy.toxic("latency", "upstream", latency=700)
    with pytest.raises(LockTimeoutError):
        through.acquire(resource, timeout=0)
    proxy.heal(toxic)
    sleep(1.0)
    assert server.holders(resource) == []
    assert server.waiters(resource) == []


def test_parked_waits_do_not_starve_a_release(client: LockserverClient, server: LockServer, resource: str) -> None:
    held = client.acquire(resource)
    assert held is not None

    def work() -> None:
        with client.lock(resource):
            pass

    waiting = [start(work) for _ in range(40)]
    until(lambda: len(server.waiters(resource)) == 40, 30)
    began = time.monotonic()
    held.renew()
    assert held.release() is True
    assert time.monotonic() - began < 3
    for one in waiting:
        one.result()


def test_connections_are_kept(to: Make) -> None:
    script = Scripted()
    client = to(script.addr)
    for _ in range(5):
        lock = client.acquire("r")
        assert lock is not None
        lock.release()
    assert len({request.connection for request in script.heard}) == 1
    script.close()


@pytest.mark.parametrize("headers", [{"Connection": "close"}, {"Transfer-Encoding": "chunked"}, {"X-Long": "x" * 5000}])
def test_any_framing_of_an_answer_is_understood(to: Make, headers: dict[str, str]) -> None:
    text = '{"token": 7, "expires_in": null, "new": {"field": [1, 2]}}'
    if "Transfer-Encoding" in headers:
        text = f"{9:x}\r\n{text[:9]}\r\n{len(text) - 9:x}\r\n{text[9:]}\r\n0\r\n\r\n"
    script = Scripted(Say(200, text, headers))
    client = to(script.addr)
    lock = client.acquire("r")
    assert lock is not None
    assert lock.token == 7
    assert lock.release() is True
    script.close()


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 1000000000000000", b"Transfer-Encoding: chunked\r\n\r\nffffffffffff", b"Connection: close"],
    ids=["length", "chunked", "unframed"],
)
def test_an_answer_without_end_is_not_read_to_its_end(to: Make, framing: bytes) -> None:
    endless = Say(200, raw=b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + b" " * (2 << 20))
    script = Scripted(otherwise=lambda heard: endless if heard.path == "/acquire" else released())
    with pytest.raises(ConnectionFailedError, match="larger than 1048576 bytes"):
        to(script.addr, unanswered=1.0).acquire("r")
    assert script.paths()[-1] == "/release", "what it may have granted was given back"
    script.close()


def test_a_head_without_end_is_not_read_to_its_end(to: Make) -> None:
    script = Scripted(Say(200, raw=b"HTTP/1.1 200 OK\r\nX: " + b"x" * (2 << 20)), granted())
    client = to(script.addr)
    with pytest.raises(TransportError, match=r"larger than 1048576 bytes|more than 65536 bytes"):
        client._core().transport.post("/acquire", b"{}", bound=10)
    assert client.acquire("r") is not None
    script.close()


def test_an_idle_connection_that_was_closed_costs_nothing(own_server: LockServer, resource: str) -> None:
    with LockserverClient(own_server.addr, secret=SECRET) as client:
        lock = client.acquire(resource)
        assert lock is not None
        own_server.kill()
        own_server.start()
        assert lock.release() is True


def test_a_path_prefix_and_the_secret_go_with_every_request(to: Make) -> None:
    script = Scripted()
    client = to(f"http://{script.addr}/locks/here/")
    lock = client.acquire("r", expire=9)
    assert lock is not None
    lock.renew()
    lock.release()
    assert script.paths() == ["/locks/here/acquire", "/locks/here/renew", "/locks/here/release"]
    assert {request.headers["X-LOCKSERVER-SECRET"] for request in script.heard} == {SECRET}
    script.close()


def test_a_server_that_never_lets_wait_is_not_stormed(to: Make) -> None:
    def queued(request: Heard) -> Say:
        return Say(202, {"position": 1, "place_kept": 10})

    script = Scripted(otherwise=queued)
    with pytest.raises(LockTimeoutError):
        to(script.addr).acquire("r", timeout=0.8)
    assert script.paths().count("/acquire") < 25
    script.close()


def test_grants_that_run_out_on_their_way_are_not_stormed(to: Make) -> None:
    script = Scripted(otherwise=lambda heard: granted(expires_in=0.001) if heard.path == "/acquire" else released())
    with pytest.raises(LockTimeoutError, match="run out"):
        to(script.addr).acquire("r", expire=0.01, timeout=1.0)
    assert 2 < script.paths().count("/acquire") < 12
    assert script.paths()[-1] == "/release", "nothing stays held"
    script.close()
