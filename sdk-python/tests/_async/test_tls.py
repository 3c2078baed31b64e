"""Over TLS."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from support.async_tasks import MANY, start
from support.processes import SECRET, LockServer

from lockserver_client import AsyncLockserverClient, ConnectionFailedError, InvalidRequestError


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def tls_server(
    lockserver_bin: str, authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LockServer]:
    folder = Path(tmp_path_factory.mktemp("tls"))
    issued = authority.issue_cert("127.0.0.1")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    issued.cert_chain_pems[0].write_to_path(folder / "cert.pem")
    running = LockServer(
        lockserver_bin, "memory", "--tls-cert", str(folder / "cert.pem"), "--tls-key", str(folder / "key.pem")
    )
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


async def test_plain_http_to_a_tls_server_is_an_error(tls_server: LockServer, resource: str) -> None:
    async with AsyncLockserverClient(f"127.0.0.1:{tls_server.port}", secret=SECRET) as client:
        with pytest.raises(InvalidRequestError, match="HTTPS server"):
            await client.acquire(resource)
