"""What the words on the wire mean, those included that no lock server says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.processes import SECRET
from support.scripted import Say, Scripted, granted, refused, released

from lockserver_client import (
    AsyncLockserverClient,
    ConnectionFailedError,
    Holder,
    InternalError,
    InvalidRequestError,
    LockedError,
    LockserverError,
    LockTimeoutError,
    NotFoundError,
    TooManyWaitersError,
)
from lockserver_client._wire import TransportError

Make = Callable[..., AsyncLockserverClient]


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
async def test_what_no_repetition_cures_is_raised_at_once(
    to: Make, say: Say, kind: type[LockserverError], code: str
) -> None:
    script = Scripted(say)
    with pytest.raises(kind) as caught:
        await to(script.addr).acquire("r")
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert caught.value.status == say.status
    # A refusal took nothing; what any other answer left is given back.
    assert script.paths() == (["/acquire"] if 400 <= say.status < 500 else ["/acquire", "/release"])
    script.close()


async def test_a_refusal_with_members_of_other_types_is_that_refusal(to: Make) -> None:
    script = Scripted(
        refused(409, "locked", holders=[None, {"owner": 7, "token": "x", "expires_in": "y"}], waiters="many"),
        refused(409, "locked", holders=7),
        refused(400, "invalid_request", field=["expire"]),
    )
    client = to(script.addr)
    with pytest.raises(LockedError) as caught:
        async with client.lock("r", blocking=False):
            pass
    assert caught.value.holders == (Holder("", 0, None), Holder("7", 0, None))
    assert (caught.value.holders_total, caught.value.waiters) == (2, 0)
    assert await client.acquire("r", blocking=False) is None
    with pytest.raises(InvalidRequestError):
        await client.acquire("r")
    script.close()


@pytest.mark.parametrize("retry_after", ["nan", "inf", "1e300", "Fri, 31 Dec 9999 23:59:59 GMT", "soon"])
async def test_any_retry_after_leaves_the_callers_limit(to: Make, retry_after: str) -> None:
    script = Scripted(otherwise=lambda heard: refused(503, "draining", retry_after=retry_after))
    with pytest.raises(LockTimeoutError):
        await to(script.addr, release=0.1).acquire("r", timeout=0.2)
    script.close()


@pytest.mark.parametrize(
    "body", ["you sent {}", '{{"code": "odd", "detail": "you sent {}"}}', '{{"code": "you sent {}"}}']
)
async def test_an_echo_of_the_secret_does_not_show(to: Make, body: str) -> None:
    script = Scripted(Say(400, body.format(SECRET)))
    with pytest.raises(LockserverError) as caught:
        await to(script.addr).acquire("r")
    assert "you sent …" in f"{caught.value} {caught.value.code}"
    assert SECRET not in f"{caught.value!r} {caught.value} {vars(caught.value)}"
    script.close()


@pytest.mark.parametrize("headers", [{"Connection": "close"}, {"Transfer-Encoding": "chunked"}, {"X-Long": "x" * 5000}])
async def test_any_framing_of_an_answer_is_understood(to: Make, headers: dict[str, str]) -> None:
    text = '{"token": 7, "expires_in": null, "new": {"field": [1, 2]}}'
    if "Transfer-Encoding" in headers:
        text = f"{9:x}\r\n{text[:9]}\r\n{len(text) - 9:x}\r\n{text[9:]}\r\n0\r\n\r\n"
    script = Scripted(Say(200, text, headers))
    client = to(script.addr)
    lock = await client.acquire("r")
    assert lock is not None
    assert lock.token == 7
    assert await lock.release() is True
    script.close()


@pytest.mark.parametrize(
    "framing",
    [b"Content-Length: 1000000000000000", b"Transfer-Encoding: chunked\r\n\r\nffffffffffff", b"Connection: close"],
    ids=["length", "chunked", "unframed"],
)
async def test_an_answer_without_end_is_not_read_to_its_end(to: Make, framing: bytes) -> None:
    endless = Say(200, raw=b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n\r\n" + b" " * (2 << 20))
    script = Scripted(otherwise=lambda heard: endless if heard.path == "/acquire" else released())
    with pytest.raises(ConnectionFailedError, match="larger than 1048576 bytes"):
        await to(script.addr, unanswered=1.0).acquire("r")
    assert script.paths()[-1] == "/release", "what it may have granted was given back"
    script.close()


async def test_a_head_without_end_is_not_read_to_its_end(to: Make) -> None:
    script = Scripted(Say(200, raw=b"HTTP/1.1 200 OK\r\nX: " + b"x" * (2 << 20)), granted())
    client = to(script.addr)
    with pytest.raises(TransportError, match=r"larger than 1048576 bytes|more than 65536 bytes"):
        await client._core().transport.post("/acquire", b"{}", bound=10)
    assert await client.acquire("r") is not None
    script.close()


async def test_a_path_prefix_and_the_secret_go_with_every_request(to: Make) -> None:
    script = Scripted()
    client = to(f"http://{script.addr}/locks/here/")
    lock = await client.acquire("r", expire=9)
    assert lock is not None
    await lock.renew()
    await lock.release()
    assert script.paths() == ["/locks/here/acquire", "/locks/here/renew", "/locks/here/release"]
    assert {request.headers["X-LOCKSERVER-SECRET"] for request in script.heard} == {SECRET}
    script.close()
