"""What users install: the wheel, the sdist, and what git gives, each in an empty virtual environment."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest
from support.processes import SECRET, LockServer, clean_environment

from lockserver_client import __version__

PROJECT = Path(__file__).resolve().parents[1]
README = (PROJECT / "README.md").read_text()

SYNC = """
import sys
import lockserver_client
assert "site-packages" in lockserver_client.__file__, lockserver_client.__file__
with lockserver_client.LockserverClient().lock("package-sync") as lock:
    assert lock.token > 0
assert lockserver_client.__version__ == sys.argv[1]
"""

ASYNC = """
import asyncio
from lockserver_client import AsyncLockserverClient
async def main():
    async with AsyncLockserverClient() as client, client.lock("package-async") as lock:
        assert lock.token > 0
asyncio.run(main())
"""


def run(*command: str | Path, **variables: str) -> str:
    done = subprocess.run(
        [str(part) for part in command],
        env=clean_environment(PIP_DISABLE_PIP_VERSION_CHECK="1", **variables),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Wheel and sdist, built from a copy, so that nothing is left in the sources."""
    base = tmp_path_factory.mktemp("package")
    source = base / "source"
    ignored = shutil.ignore_patterns(".venv*", "dist", "__pycache__", "tests", "bench", ".*_cache")
    shutil.copytree(PROJECT, source, ignore=ignored)
    run(sys.executable, "-m", "build", "--no-isolation", "--outdir", base / "dist", source)
    return base / "dist"


def test_the_packages_hold_what_they_should(dist: Path) -> None:
    (wheel,) = dist.glob("*.whl")
    (sdist,) = dist.glob("*.tar.gz")
    assert wheel.name in README
    modules = {
        path.relative_to(PROJECT / "src").as_posix()
        for path in (PROJECT / "src/lockserver_client").rglob("*")
        if path.suffix == ".py" or path.name == "py.typed"
    }
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read(f"lockserver_client-{__version__}.dist-info/METADATA").decode()
    assert {name for name in names if ".dist-info/" not in name} == modules
    assert f"lockserver_client-{__version__}.dist-info/licenses/LICENSE" in names
    requires = re.findall(r"^Requires-Dist: (.*)$", metadata, re.MULTILINE)
    assert [line for line in requires if "extra" not in line] == ["python-dotenv>=1.0.1"]
    with tarfile.open(sdist) as archive:
        inside = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in modules} | {"README.md", "LICENSE", "pyproject.toml"} <= inside


@pytest.mark.parametrize("kind", ["wheel", "sdist", "git"])
def test_it_installs_into_an_empty_environment(dist: Path, server: LockServer, tmp_path: Path, kind: str) -> None:
    if kind == "git":
        (line,) = re.findall(r'^pip install "(git\+.*)"$', README, re.MULTILINE)
        assert "https://github.com/lockserver/lockserver#" in line
        top = run("git", "-C", PROJECT, "rev-parse", "--show-toplevel").strip()
        what = line.replace("https://github.com/lockserver/lockserver", f"file://{top}")
    else:
        (path,) = dist.glob("*.whl" if kind == "wheel" else "*.tar.gz")
        what = str(path)
    run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    python = tmp_path / "venv/bin/python"
    pip = (sys.executable, "-m", "pip", "--python", python)
    run(*pip, "install", "--quiet", what)
    installed = run(*pip, "list", "--format=freeze").lower()
    assert re.findall(r"^([\w.-]+)==", installed, re.MULTILINE) == ["lockserver-client", "python-dotenv"]
    settings = {"LOCKSERVER_ADDR": server.addr, "LOCKSERVER_SECRET": SECRET}
    run(python, "-W", "error", "-c", SYNC, __version__, **settings)
    run(python, "-W", "error", "-c", ASYNC, **settings)
