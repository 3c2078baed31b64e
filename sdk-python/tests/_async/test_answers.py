"""What the words on the wire mean, those included that no lock server says."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from support.async_tasks import InMemory
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
    TooManyWaitersError,
)
from lockserver_client._contract import ACQUIRE
from lockserver_client._outcome import Failure

Make = Callable[..., AsyncLockserverClient]


AT_ONCE = {400: "invalid_request", 401: "unauthorized", 413: "too_large", 431: "too_large", 500: "internal"}
STRANGE = [
    201,
    202,
    203,
    204,
    206,
    299,
    300,
    301,
    302,
    303,
    304,
    307,
    308,
    *range(400, 452),
    499,
    500,
    501,
    505,
    511,
    599,
]


@pytest.mark.parametrize(
    "body", ["", "<html>no", '{"code": 5}', '{"code": ""}', "[1]", '"conflict"', '{"code": "\xff"}']
)
async def test_a_status_without_a_code_has_one_meaning(to: Make, body: str) -> None:
    said = Say(0, raw=b"")
    script = Scripted(otherwise=lambda heard: said if heard.path == "/renew" else released())
    client = to(script.addr)
    for status in STRANGE:
        if status == 202:
            continue
        head = f"HTTP/1.1 {status} So\r\nLocation: /acquire\r\nContent-Length: {len(body)}\r\n\r\n"
        script.script[:] = [granted(expires_in=100)]
        lock = await client.acquire("r", expire=100)
        assert lock is not None
        said = Say(0, raw=(head + ("" if status in (204, 304) else body)).encode("latin-1"))
        with pytest.raises(LockserverError) as caught:
            await lock.renew()
        assert (status, caught.value.code) == (status, AT_ONCE.get(status, "connection_failed"))
        assert caught.value.status == status
        assert f"{script.addr} answered {status} without a lockserver's code: " in str(caught.value)
        assert script.paths().count("/renew") == 1, "it was raised at once"
        assert ("proxy" in str(caught.value)) == (status == 407)
        script.heard.clear()
    script.close()


@pytest.mark.parametrize("status", [502, 503, 504])
@pytest.mark.parametrize("body", ["", "<html>", '{"code": "teapot"}'])
async def test_a_gateway_that_has_no_server_is_asked_again(to: Make, status: int, body: str) -> None:
    script = Scripted(Say(status, body), granted())
    assert await to(script.addr).acquire("r") is not None
    assert script.paths() == ["/acquire", "/acquire"]
    script.script[:] = [Say(status, body)] * 9
    with pytest.raises(LockTimeoutError, match=f"{script.addr} answered {status}( teapot)?$") as caught:
        await to(script.addr).acquire("r", timeout=0)
    assert isinstance(caught.value.__cause__, LockserverError)
    script.close()


@pytest.mark.parametrize(
    ("body", "wrong"),
    [
        ("", "with no JSON object"),
        ("<html>welcome to the hotel", "with no JSON object"),
        ("[]", "with no JSON object"),
        ("null", "with no JSON object"),
        ('{"token": 1} x', "with no JSON object"),
        ('{"token": NaN}', "with no JSON object"),
        ('{"token": 1, "note": "\xff"}', "with no JSON object"),
        ("[" * 100_000, "with no JSON object"),
        (" " * 1_200_000 + "{}", "with more than 1048576 bytes"),
        ("{}", 'without "token"'),
        ('{"token": 1e999}', 'with an unusable "token"'),
        ('{"token": "1"}', 'with an unusable "token"'),
        ('{"token": 1.5}', 'with an unusable "token"'),
        ('{"token": true}', 'with an unusable "token"'),
        ('{"token": 0}', 'with an unusable "token"'),
        ('{"token": 1}', 'without "expires_in"'),
        ('{"token": 1, "expires_in": "soon"}', 'with an unusable "expires_in"'),
        ('{"token": 1, "expires_in": null}', 'without "waited"'),
        ('{"token": 1, "expires_in": 2, "waited": "long"}', 'with an unusable "waited"'),
    ],
)
@pytest.mark.parametrize("status", [200, 202])
async def test_a_success_that_cannot_be_one_is_raised_at_once(to: Make, status: int, body: str, wrong: str) -> None:
    if status == 202 and '"' in wrong:  # a place in the queue has a position instead
        wrong = 'without "position"'
    head = f"HTTP/1.1 {status} OK\r\nContent-Length: {len(body)}\r\n\r\n"
    script = Scripted(Say(0, raw=(head + body).encode("latin-1")))
    with pytest.raises(ConnectionFailedError) as caught:
        await to(script.addr).acquire("r")
    assert str(caught.value) == f"{script.addr} answered {status} {wrong}: is this the address of a lockserver?"
    assert caught.value.status == status
    assert script.paths() == ["/acquire", "/release"], "what it may have granted was given back"
    assert script.heard[0].body["id"] == script.heard[1].body["id"]
    script.close()


async def test_what_is_said_before_the_answer_is_left_aside(to: Make) -> None:
    body = '{"token": 7, "expires_in": null, "waited": 0}'
    early = "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n"
    script = Scripted(
        Say(0, raw=f"{early}{early}HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
    )
    lock = await to(script.addr).acquire("r")
    assert lock is not None
    assert lock.token == 7
    script.close()


@pytest.mark.parametrize(
    "raw",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
        b"HTTP/2 200 OK\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{}\r\n0\r\n\r\n",
    ],
)
async def test_what_is_not_http_is_no_answer(to: Make, raw: bytes) -> None:
    script = Scripted(Say(0, raw=raw))
    outcome = await to(script.addr)._here().link.transport.send(ACQUIRE, lambda session: (b"{}", 10))
    assert isinstance(outcome, Failure)
    assert "is this the address of a lockserver?" in outcome.why
    assert (outcome.unknown, outcome.permanent) == (True, False)
    script.close()


@pytest.mark.parametrize(
    ("say", "kind", "code"),
    [
        (refused(429, "too_many_waiters", retry_after="1"), TooManyWaitersError, "too_many_waiters"),
        (refused(500, "internal"), InternalError, "internal"),
        (refused(418, "teapot"), LockserverError, "teapot"),
    ],
)
async def test_what_no_repetition_cures_is_raised_at_once(
    to: Make, say: Say, kind: type[LockserverError], code: str
) -> None:
    script = InMemory(say)
    with pytest.raises(kind) as caught:
        await to(script).acquire("r")
    assert type(caught.value) is kind
    assert caught.value.code == code
    assert caught.value.status == say.status
    # A lock server's refusal took nothing; what any other answer left is given back.
    refusal = isinstance(say.body, dict) and "code" in say.body and say.status < 500
    assert script.paths() == (["/acquire"] if refusal else ["/acquire", "/release"])


async def test_a_refusal_with_members_of_other_types_is_that_refusal(to: Make) -> None:
    script = InMemory(
        refused(409, "locked", holders=[None, {"owner": 7, "token": "x", "expires_in": "y"}], waiters="many"),
        refused(409, "locked", holders=7),
        refused(400, "invalid_request", field=["expire"]),
    )
    client = to(script)
    with pytest.raises(LockedError) as caught:
        async with client.lock("r", blocking=False):
            pass
    assert caught.value.holders == (Holder("", 0, None), Holder("7", 0, None))
    assert (caught.value.holders_total, caught.value.waiters) == (2, 0)
    assert await client.acquire("r", blocking=False) is None
    with pytest.raises(InvalidRequestError):
        await client.acquire("r")


@pytest.mark.parametrize("retry_after", ["nan", "inf", "1e300", "Fri, 31 Dec 9999 23:59:59 GMT", "soon"])
async def test_any_retry_after_leaves_the_callers_limit(to: Make, retry_after: str) -> None:
    script = InMemory(otherwise=lambda heard: refused(503, "draining", retry_after=retry_after))
    with pytest.raises(LockTimeoutError):
        await to(script, cleanup=0.1).acquire("r", timeout=0.2)


@pytest.mark.parametrize(
    "body", ["you sent {}", '{{"code": "odd", "detail": "you sent {}"}}', '{{"code": "you sent {}"}}']
)
async def test_an_echo_of_the_secret_does_not_show(to: Make, body: str) -> None:
    script = InMemory(Say(400, body.format(SECRET)))
    with pytest.raises(LockserverError) as caught:
        await to(script).acquire("r")
    assert "you sent …" in f"{caught.value} {caught.value.code}"
    assert SECRET not in f"{caught.value!r} {caught.value} {vars(caught.value)}"


@pytest.mark.parametrize("headers", [{"Connection": "close"}, {"Transfer-Encoding": "chunked"}, {"X-Long": "x" * 5000}])
async def test_any_framing_of_an_answer_is_understood(to: Make, headers: dict[str, str]) -> None:
    text = '{"token": 7, "expires_in": null, "waited": 0, "new": {"field": [1, 2]}}'
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
    with pytest.raises(ConnectionFailedError, match="with more than 1048576 bytes"):
        await to(script.addr, silence=1.0).acquire("r")
    assert script.paths()[-1] == "/release", "what it may have granted was given back"
    script.close()


async def test_a_head_without_end_is_not_read_to_its_end(to: Make) -> None:
    script = Scripted(Say(200, raw=b"HTTP/1.1 200 OK\r\nX: " + b"x" * (2 << 20)), granted())
    client = to(script.addr)
    outcome = await client._here().link.transport.send(ACQUIRE, lambda session: (b"{}", 10))
    assert isinstance(outcome, Failure)
    assert "larger than 65536 bytes" in outcome.why
    assert outcome.unknown
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
