from __future__ import annotations

import fcntl
import itertools
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.processes import LockServer, Proxy, Toxiproxy, build

_numbers = itertools.count(1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest first, so that a run that is spread over several processes ends sooner."""
    items.sort(key=lambda item: not ("memory" in item.name or "empty" in item.name))


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, str, str], str]:
    """Builds a program at most once, also where the run is spread over several processes."""
    base = tmp_path_factory.getbasetemp()
    folder = base.parent if base.name.startswith("popen-") else base

    def program(variable: str, module: str, package: str) -> str:
        with open(folder / f"{variable}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return build(variable, folder, module, package)

    return program


@pytest.fixture(scope="session")
def lockserver_bin(programs: Callable[[str, str, str], str]) -> str:
    return programs("LOCKSERVER_BIN", "server", "./cmd/lockserver")


@pytest.fixture(scope="session")
def server(lockserver_bin: str) -> Iterator[LockServer]:
    """One for all tests that leave it running; each takes resources of its own."""
    running = LockServer(lockserver_bin)
    yield running
    running.close()


@pytest.fixture
def own_server(lockserver_bin: str) -> Iterator[LockServer]:
    """One that a test may stop and kill, on disk."""
    with tempfile.TemporaryDirectory() as folder:
        running = LockServer(lockserver_bin, f"disk:{Path(folder) / 'data'}")
        yield running
        running.close()


@pytest.fixture(scope="session")
def toxiproxy(programs: Callable[[str, str, str], str]) -> Iterator[Toxiproxy]:
    binary = programs("TOXIPROXY_BIN", "conformance", "github.com/Shopify/toxiproxy/v2/cmd/server")
    running = Toxiproxy(binary)
    yield running
    running.close()


@pytest.fixture
def proxy(toxiproxy: Toxiproxy, server: LockServer) -> Iterator[Proxy]:
    """A way to `server` on which faults can be put."""
    made = toxiproxy.proxy(server.port)
    yield made
    made.close()


@pytest.fixture
def resource() -> str:
    return f"resource-{next(_numbers)}"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No test depends on the settings of whoever runs it, or on a `.env` that lies about."""
    for name in ("ADDR", "OWNER", "SECRET", "TRANSPORT"):
        monkeypatch.delenv(f"LOCKSERVER_{name}", raising=False)
    monkeypatch.chdir(tmp_path)
