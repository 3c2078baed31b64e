"""Over TLS."""

from __future__ import annotations

import os
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import trustme
from support.async_tasks import MANY, start, until
from support.processes import SECRET, LockServer, Port, Toxiproxy
from support.webproxy import WebProxy

from lockserver_client import AsyncLockserverClient, ConfigInvalidError, ConnectionFailedError, InvalidRequestError


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def certified_by(authority: trustme.CA, lockserver_bin: str, folder: Path, *more: str) -> LockServer:
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    files = ["--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")]
    return LockServer(lockserver_bin, "memory", *files, *more)


@pytest.fixture(scope="module")
def tls_server(
    lockserver_bin: str, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LockServer]:
    running = certified_by(authority, lockserver_bin, tmp_path_factory.mktemp("tls"))
    yield running
    running.close()


@pytest.fixture
def impostor(lockserver_bin: str, tmp_path: Path) -> Iterator[LockServer]:
    """A server whose certificate the client has no reason to trust."""
    running = certified_by(trustme.CA(), lockserver_bin, tmp_path)
    yield running
    running.close()


@pytest.fixture(scope="module")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


async def test_locks_over_tls(tls_server: LockServer, trusting: ssl.SSLContext, resource: str) -> None:
    assert tls_server.addr.startswith("https://")
    async with AsyncLockserverClient(tls_server.addr, secret=SECRET, ssl_context=trusting) as client:
        inside = 0

        async def work() -> None:
            nonlocal inside
            async with client.lock(resource):
                inside += 1
                assert inside == 1
                inside -= 1

        running = [start(work) for _ in range(MANY // 10)]
        for one in running:
            await one.result()


@pytest.mark.parametrize("transport", ["http", "session"])
async def test_the_certificate_of_a_client(
    lockserver_bin: str,
    authority: trustme.CA,
    trusting: ssl.SSLContext,
    tmp_path: Path,
    resource: str,
    transport: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clients, strangers = trustme.CA(), trustme.CA()
    clients.cert_pem.write_to_path(tmp_path / "clients.pem")
    server = certified_by(authority, lockserver_bin, tmp_path, "--tls-client-ca", str(tmp_path / "clients.pem"))
    cert, key, ticks = tmp_path / "client.pem", tmp_path / "client-key.pem", iter(range(1, 100))

    def show(shown: trustme.LeafCert, with_key: trustme.LeafCert) -> None:
        tick = next(ticks)
        cert.write_bytes(b"".join(pem.bytes() for pem in shown.cert_chain_pems))
        key.write_bytes(with_key.private_key_pem.bytes())
        for file in (cert, key):
            os.utime(file, (tick, tick))

    async def refused(client: AsyncLockserverClient, why: str) -> None:
        began = time.monotonic()
        with pytest.raises(ConnectionFailedError, match=f"does not accept this client's certificate.*: {why}$"):
            await client.acquire(resource)
        assert time.monotonic() - began < 10

    right, stranger = clients.issue_cert("client"), strangers.issue_cert("client")
    common: dict[str, Any] = {"secret": SECRET, "transport": transport, "dotenv": False}
    try:
        async with AsyncLockserverClient(server.addr, ssl_context=trusting, **common) as client:
            await refused(client, "certificate required")
        show(stranger, stranger)
        context = ssl.create_default_context()
        authority.configure_trust(context)
        files: dict[str, Any] = {"client_cert": cert, "client_key": str(key)}
        async with AsyncLockserverClient(server.addr, ssl_context=context, **files, **common) as client:
            await refused(client, "bad certificate")
            show(right, right)
            async with client.lock(resource):
                pass
            show(right, stranger)  # the one is there, the other not yet
            async with client.lock(resource):
                pass
        monkeypatch.setenv("LOCKSERVER_CLIENT_CERT", str(cert))
        for wrong in ("", str(key), str(tmp_path / "absent")):
            monkeypatch.setenv("LOCKSERVER_CLIENT_KEY", wrong)
            with pytest.raises(ConfigInvalidError, match=r"LOCKSERVER_CLIENT_CERT, LOCKSERVER_CLIENT_KEY.* allowed"):
                AsyncLockserverClient(server.addr, **common)
            AsyncLockserverClient(server.addr, ssl_context=trusting, **common)
    finally:
        server.close()


async def test_a_certificate_that_nobody_vouches_for_is_refused_at_once(tls_server: LockServer, resource: str) -> None:
    async with AsyncLockserverClient(tls_server.addr, secret=SECRET) as client:
        began = time.monotonic()
        with pytest.raises(ConnectionFailedError, match="certificate verify failed"):
            await client.acquire(resource)
        assert time.monotonic() - began < 10


async def test_a_certificate_of_another_name_is_refused(
    tls_server: LockServer, trusting: ssl.SSLContext, resource: str
) -> None:
    addr = f"https://localhost:{tls_server.port}"
    async with AsyncLockserverClient(addr, secret=SECRET, ssl_context=trusting) as client:
        with pytest.raises(ConnectionFailedError, match="certificate verify failed"):
            await client.acquire(resource)


async def test_a_renewal_that_meets_a_bad_certificate_is_tried_again(
    tls_server: LockServer, impostor: LockServer, toxiproxy: Toxiproxy, trusting: ssl.SSLContext, resource: str
) -> None:
    proxy = toxiproxy.proxy(tls_server.port)
    addr = proxy.addr.replace("http:", "https:")
    async with AsyncLockserverClient(addr, secret=SECRET, ssl_context=trusting) as client:
        lock = await client.acquire(resource, expire=6, renew=True)
        assert lock is not None
        proxy.lead_to(impostor.port)
        await until(lambda: "TLS handshake error" in impostor.log())
        proxy.lead_to(tls_server.port)
        await until(lambda: lock.expires_in is not None and lock.expires_in > 5)
        assert not lock.lost
        assert await lock.release() is True
    proxy.close()


async def test_tls_to_a_plain_port_is_said_at_once(server: LockServer, resource: str) -> None:
    async with AsyncLockserverClient(f"https://127.0.0.1:{server.port}", secret=SECRET) as client:
        began = time.monotonic()
        with pytest.raises(ConnectionFailedError, match=f"^127.0.0.1:{server.port} does not speak TLS"):
            await client.acquire(resource)
        assert time.monotonic() - began < 10


async def test_a_version_of_tls_that_is_refused_is_said_at_once(authority: trustme.CA, resource: str) -> None:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.minimum_version = ssl.TLSVersion.TLSv1_3
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    old = ssl.create_default_context()
    old.maximum_version = ssl.TLSVersion.TLSv1_2
    authority.configure_trust(old)
    with WebProxy(serving) as stranger:
        async with AsyncLockserverClient(f"https://{stranger.addr}", secret=SECRET, ssl_context=old) as client:
            began = time.monotonic()
            with pytest.raises(ConnectionFailedError, match="not this version of it"):
                await client.acquire(resource)
            assert time.monotonic() - began < 10


async def test_plain_http_to_a_tls_server_is_an_error(tls_server: LockServer, resource: str) -> None:
    async with AsyncLockserverClient(f"127.0.0.1:{tls_server.port}", secret=SECRET) as client:
        with pytest.raises(InvalidRequestError, match=r"answered 400 without .*HTTPS server"):
            await client.acquire(resource)


# Through a web proxy


@pytest.fixture
def plain_proxy() -> Iterator[WebProxy]:
    with WebProxy() as running:
        yield running


@pytest.fixture
def tls_proxy(authority: trustme.CA) -> Iterator[WebProxy]:
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(serving)
    with WebProxy(serving) as running:
        yield running


@pytest.mark.parametrize("to_proxy", ["http", "https"])
@pytest.mark.parametrize("to_server", ["http", "https"])
async def test_every_connection_goes_through_the_proxy(
    server: LockServer,
    tls_server: LockServer,
    plain_proxy: WebProxy,
    tls_proxy: WebProxy,
    trusting: ssl.SSLContext,
    resource: str,
    to_proxy: str,
    to_server: str,
) -> None:
    there = tls_server if to_server == "https" else server
    proxy = tls_proxy if to_proxy == "https" else plain_proxy
    proxy.wants = "user:pass word"
    way = f"{to_proxy}://user:pass%20word@{proxy.addr}"
    async with AsyncLockserverClient(there.addr, secret=SECRET, ssl_context=trusting, proxy=way) as client:
        async with client.lock(resource, note="n" * 1000):
            assert await client.acquire(resource, blocking=False) is None
    assert proxy.asked == [f"CONNECT 127.0.0.1:{there.port} HTTP/1.1"]


async def test_a_proxy_that_refuses_is_named(server: LockServer, plain_proxy: WebProxy, resource: str) -> None:
    plain_proxy.wants = "user:another"
    way = f"http://user:hidden@{plain_proxy.addr}"
    async with AsyncLockserverClient(server.addr, secret=SECRET, proxy=way) as client:
        with pytest.raises(ConnectionFailedError) as caught:
            await client.acquire(resource)
    assert f"the proxy {plain_proxy.addr} answered 407" in str(caught.value)
    assert "hidden" not in f"{caught.value!r} {caught.value} {caught.value.__cause__!r}"
    assert len(plain_proxy.asked) == 1, "it was raised at once"


async def test_a_proxy_that_cannot_reach_the_server_is_asked_again(plain_proxy: WebProxy) -> None:
    port = Port()
    way = f"http://{plain_proxy.addr}"
    async with AsyncLockserverClient(f"127.0.0.1:{port.number}", secret=SECRET, proxy=way) as client:
        running = start(client.acquire, "r")
        await until(lambda: len(plain_proxy.asked) > 1)
    with pytest.raises(ConnectionFailedError, match="closed") as caught:
        await running.result()
    assert f"the proxy {plain_proxy.addr} answered 502" in str(caught.value.__cause__)
    port.close()


async def test_the_environments_proxies_are_not_followed(
    server: LockServer, plain_proxy: WebProxy, resource: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.setenv(name, f"http://{plain_proxy.addr}")
        monkeypatch.setenv(name.lower(), f"http://{plain_proxy.addr}")
    async with AsyncLockserverClient(server.addr, secret=SECRET) as client:
        assert await client.acquire(resource) is not None
    assert plain_proxy.asked == []
