"""Every snippet of the README, run against a server that is found as `make run` leaves it: by a `.env`."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.processes import SECRET, LockServer, clean_environment

from lockserver_client import _errors

README = (Path(__file__).resolve().parents[1] / "README.md").read_text()
SNIPPETS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)


@pytest.mark.parametrize("number", range(len(SNIPPETS)))
def test_a_snippet_runs_as_it_stands(lockserver_bin: str, server: LockServer, number: int) -> None:
    Path(".env").write_text(f"LOCKSERVER_ADDR=127.0.0.1:{server.port}\nLOCKSERVER_SECRET={SECRET}\n")
    Path("snippet.py").write_text(SNIPPETS[number])
    done = subprocess.run(
        [sys.executable, "-W", "error", "snippet.py"],
        env=clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for said in re.findall(r'print\("([\w ,]+)', SNIPPETS[number]):
        assert said in done.stdout


def test_there_are_snippets() -> None:
    assert len(SNIPPETS) >= 7


def test_the_tree_of_errors_is_the_packages() -> None:
    drawn = dict(re.findall(r"[├└]── (\w+) +(\w+)", README))
    assert _errors.__doc__ is not None
    assert drawn == dict(re.findall(r"[├└]── (\w+) +(\w+)", _errors.__doc__))
