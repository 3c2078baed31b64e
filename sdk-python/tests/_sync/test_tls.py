# Generated from tests/_async/test_tls.py by tools/generate.py; change that one.
"""Over TLS."""

from __future__ import annotations

import ssl
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme
from support.processes import SECRET, LockServer
from support.sync_tasks import MANY, start

from lockserver_client import ConnectionFailedError, InvalidRequestError, LockserverClient


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


def test_locks_over_tls(tls_server: LockServer, trusting: ssl.SSLContext, resource: str) -> None:
    assert tls_server.addr.startswith("https://")
    with LockserverClient(tls_server.addr, secret=SECRET, ssl_context=trusting) as client:
        inside = 0

        def work() -> None:
            nonlocal inside
            with client.lock(resource):
                inside += 1
                assert inside == 1
                inside -= 1

        running = [start(work) for _ in range(MANY // 10)]
        for one in running:
            one.result()


def test_a_certificate_that_nobody_vouches_for_is_refused_at_once(tls_server: LockServer, resource: str) -> None:
    with LockserverClient(tls_server.addr, secret=SECRET) as client:
        began = time.monotonic()
        with pytest.raises(ConnectionFailedError, match="certificate verify failed"):
            client.acquire(resource)
        assert time.monotonic() - began < 10


def test_a_certificate_of_another_name_is_refused(
    tls_server: LockServer, trusting: ssl.SSLContext, resource: str
) -> None:
    addr = f"https://localhost:{tls_server.port}"
    with LockserverClient(addr, secret=SECRET, ssl_context=trusting) as client:
        with pytest.raises(ConnectionFailedError, match="certificate verify failed"):
            client.acquire(resource)


def test_plain_http_to_a_tls_server_is_an_error(tls_server: LockServer, resource: str) -> None:
    with LockserverClient(f"127.0.0.1:{tls_server.port}", secret=SECRET) as client:
        with pytest.raises(InvalidRequestError, match="HTTPS server"):
            client.acquire(resource)
