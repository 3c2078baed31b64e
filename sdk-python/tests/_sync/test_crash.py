# Generated from tests/_async/test_crash.py by tools/generate.py; change that one.
"""The holder is killed."""

from __future__ import annotations

import subprocess
import sys
import time

from support.processes import SECRET, LockServer, clean_environment

from lockserver_client import LockserverClient

HOLDER = """
import sys
from lockserver_client import LockserverClient
client = LockserverClient(sys.argv[1])
with client.lock(sys.argv[2], expire=float(sys.argv[3])) as lock:
    print(lock.token, flush=True)
    sys.stdin.read()
"""


def test_a_lock_whose_holder_was_killed_passes_on_when_its_lease_ends(
    client: LockserverClient, server: LockServer, resource: str
) -> None:
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLDER, server.addr, resource, "1.5"],
        env=clean_environment(LOCKSERVER_SECRET=SECRET),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert holder.stdout is not None
    assert holder.stdin is not None
    token = int(holder.stdout.readline())
    killed = time.monotonic()
    holder.kill()
    lock = client.acquire(resource, timeout=20)
    assert lock is not None
    assert lock.token > token
    assert time.monotonic() - killed < 5
    holder.wait(10)
    holder.stdin.close()
    holder.stdout.close()
