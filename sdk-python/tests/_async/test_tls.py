"""Over TLS."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from support.async_tasks import MANY, start, until
from support.processes import SECRET, LockServer, Toxiproxy

from lockserver_client import AsyncLockserverClient, ConnectionFailedError, InvalidRequestError


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def certified_by(authority: trustme.CA, lockserver_bin: str, folder: Path) -> LockServer:
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    return LockServer(
        lockserver_bin, "memory", "--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")
    )


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


async def test_plain_http_to_a_tls_server_is_an_error(tls_server: LockServer, resource: str) -> None:
    async with AsyncLockserverClient(f"127.0.0.1:{tls_server.port}", secret=SECRET) as client:
        with pytest.raises(InvalidRequestError, match="HTTPS server"):
            await client.acquire(resource)
