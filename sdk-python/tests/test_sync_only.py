"""What only threads and processes can do: fork, exit, be interrupted."""

from __future__ import annotations

import gc
import inspect
import io
import itertools
import json
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import trustme
from support.processes import SECRET, LockServer, Proxy, clean_environment
from support.scripted import Scripted, refused, released
from support.sessions import Sessions
from support.sync_tasks import nothing_left, start, until

from lockserver_client import LockLostError, LockserverClient
from lockserver_client._clock import Instant
from lockserver_client._contract import RENEW
from lockserver_client._exchange import Exchange
from lockserver_client._operations import Grant, Reply
from lockserver_client._outcome import NetworkError
from lockserver_client._sync._backend import Stream, Waiter
from lockserver_client._sync._tls import Tls

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork()")


@pytest.fixture
def client(server: LockServer) -> Iterator[LockserverClient]:
    with LockserverClient(server.addr, secret=SECRET) as made:
        yield made
    nothing_left()


def in_child(work: object) -> str:
    """Run a function in a forked child; what it returns, or how it failed, comes back as text."""
    assert callable(work)
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            text = str(work())
        except BaseException as error:
            text = f"failed: {error!r}"
        os.write(write, text.encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    os.waitpid(child, 0)
    return text


def test_a_forked_child_has_connections_and_an_owner_of_its_own(client: LockserverClient, resource: str) -> None:
    with client.lock(resource):

        def work() -> str:
            refused = client.acquire(resource, blocking=False)
            with client.lock(resource + "-child") as lock:
                return f"{refused} {lock.owner}"

        refused, owner = in_child(work).split()
        assert refused == "None"
        assert owner != client.owner
        assert owner == owner.strip()
    assert client.acquire(resource, blocking=False) is not None


def test_a_forked_child_neither_renews_nor_releases_what_its_parent_holds(
    client: LockserverClient, server: LockServer, resource: str
) -> None:
    with client.lock(resource, expire=2) as lock:

        def work() -> str:
            time.sleep(0.3)
            try:
                lock.renew()
            except LockLostError as error:
                lost = "forked" in str(error)
            threads = [thread.name for thread in threading.enumerate() if "lockserver" in thread.name]
            return f"{lost} {lock.lost} {lock.release()} {threads}"

        assert in_child(work) == "True True False []"
        assert server.holders(resource)[0]["token"] == lock.token
        assert not lock.lost
        until(lambda: server.held_for(resource) > 2.5)
        assert not lock.lost, "the parent goes on renewing"


def test_a_scope_that_a_child_leaves_stays_its_parents(
    client: LockserverClient, server: LockServer, resource: str
) -> None:
    scope = client.lock(resource)
    with scope as lock:

        def leave() -> None:
            scope.__exit__(None, None, None)

        assert "LockLostError" in in_child(leave), "the child never had it"
        assert server.holders(resource)[0]["token"] == lock.token


def test_a_child_asks_for_a_loss_that_another_thread_was_noting(client: LockserverClient, resource: str) -> None:
    with client.lock(resource) as lock:

        def work() -> bool:
            signal.alarm(20)
            return lock.lost

        with lock._mutex:
            assert in_child(work) == "True"
        assert not lock.lost


def test_a_fork_in_the_middle_of_everything(client: LockserverClient, server: LockServer, resource: str) -> None:
    """Other threads hold the client's mutexes and connections at the moment of the fork."""
    stop = threading.Event()

    def busy(number: int) -> None:
        while not stop.is_set():
            with client.lock(f"{resource}-{number}"):
                pass

    threads = [threading.Thread(target=busy, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(15):

            def work() -> str:
                signal.alarm(20)
                with client.lock(f"{resource}-child"):
                    return "well"

            assert in_child(work) == "well"
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_workers_that_are_forked_after_the_client_was_used_have_sessions_of_their_own(
    client: LockserverClient, server: LockServer, resource: str
) -> None:
    """As a server does that loads the application before it forks."""
    parked = start(client.acquire, resource)
    kept = parked.result()
    transport = client._here().link.transport
    session = transport.session()
    assert session is not None
    parked = start(client.acquire, resource)
    until(lambda: len(server.waiters(resource)) == 1)  # a call is under way while it forks

    def work() -> str:
        signal.alarm(20)
        theirs = client._here().link.transport
        with client.lock(f"{resource}-child"):
            own = theirs.session()
        client.close()
        return str(own is not None and own is not session)

    assert [in_child(work) for _ in range(3)] == ["True"] * 3
    assert transport.session() is session, "the parent's was not touched"
    assert kept.release() is True
    assert parked.result().release() is True
    assert transport.session() is session


def test_what_is_asked_at_once_goes_out_once_and_in_one_message() -> None:
    exchange = Exchange("peer", 60, 60, lambda *_: None, lambda: None)
    sent: list[bytes] = []
    over = threading.Event()

    def write() -> None:
        while not over.is_set():
            sent.append(exchange.take_out())

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        writer = start(write)
        for _ in range(200):
            exchange.ask_all(RENEW, [b"{}"] * 32, [Waiter(None) for _ in range(32)])
        over.set()
        writer.result(20)
        sent.append(exchange.take_out())
    finally:
        sys.setswitchinterval(before)
    stream = io.BytesIO(b"".join(sent))
    messages = []
    while (message := Sessions._message(stream)) is not None:
        messages.append([one["seq"] for one in json.loads(message)])
    assert list(itertools.chain(*messages)) == list(range(1, 200 * 32 + 1))
    assert all(len(message) % 32 == 0 for message in messages)


def test_a_client_that_nobody_has_any_more_leaves_nothing(server: LockServer, resource: str) -> None:
    def sessions() -> int:
        return sum(thread.name == "lockserver-session" for thread in threading.enumerate())

    for number in range(5):
        lock = LockserverClient(server.addr, secret=SECRET).acquire(f"{resource}-{number}")
        assert lock.release() is True
    del lock
    gc.collect()
    until(lambda: sessions() == 0)


def test_a_signal_handler_may_use_the_client_in_the_middle_of_a_call(
    client: LockserverClient, server: LockServer, resource: str
) -> None:
    held = client.acquire(f"{resource}-held")
    server.take(resource)
    released: list[bool] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: released.append(held.release()))
    try:

        def interrupt() -> None:
            until(lambda: len(server.waiters(resource)) == 1)
            os.kill(os.getpid(), signal.SIGUSR1)
            until(lambda: released == [True])
            server.give(resource)

        helper = start(interrupt)
        assert client.acquire(resource, timeout=20).release() is True
        helper.result()
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert released == [True]


POOL = """
import multiprocessing, sys
from lockserver_client import LockserverClient

def work(resource):
    client = LockserverClient()
    with client.lock(resource) as lock:
        return lock.token

if __name__ == "__main__":
    with multiprocessing.get_context(sys.argv[1]).Pool(2) as pool:
        print(len(set(pool.map(work, ["pool"] * 6, chunksize=1))))
"""


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_of_a_pool(server: LockServer, method: str) -> None:
    Path("pool.py").write_text(POOL)
    done = subprocess.run(
        [sys.executable, "pool.py", method],
        env=clean_environment(LOCKSERVER_ADDR=server.addr, LOCKSERVER_SECRET=SECRET),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.stdout, done.stderr) == ("6\n", "")


HOLDS = """
import sys
from lockserver_client import LockserverClient
client = LockserverClient(sys.argv[1])
client.acquire(sys.argv[2] + "-1")
client.acquire(sys.argv[2] + "-2", expire=0.3, renew=True)
scope = client.lock(sys.argv[2] + "-3", expire=1)
scope.__enter__()
import time
time.sleep(0.25)
print("ends", flush=True)
"""

HOLDS_ASYNC = """
import asyncio, sys
from lockserver_client import AsyncLockserverClient
async def main():
    client = AsyncLockserverClient(sys.argv[1])
    await client.acquire(sys.argv[2] + "-1")
    await client.acquire(sys.argv[2] + "-2", expire=0.3, renew=True)
    await client.lock(sys.argv[2] + "-3", expire=1).__aenter__()
    await asyncio.sleep(0.25)
    print("ends", flush=True)
asyncio.run(main())
"""


@pytest.mark.parametrize("code", [HOLDS, HOLDS_ASYNC], ids=["sync", "async"])
def test_an_exit_with_locks_held_is_quiet_and_quick(server: LockServer, resource: str, code: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", code, server.addr, resource],
        env=clean_environment(LOCKSERVER_SECRET=SECRET),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "ends\n"
    began = time.monotonic()
    rest, errors = process.communicate(timeout=20)
    assert time.monotonic() - began < 10
    assert process.returncode == 0
    assert rest == errors == ""


# Whoever is started in the background of a script has SIGINT ignored, and hands that down.
WAITS = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from lockserver_client import LockserverClient
client = LockserverClient(sys.argv[1])
try:
    client.acquire(sys.argv[2])
except KeyboardInterrupt:
    print("interrupted")
"""

IN_SCOPE = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)
from lockserver_client import LockserverClient
client = LockserverClient(sys.argv[1])
with client.lock(sys.argv[2]):
    print("inside", flush=True)
    time.sleep(60)
"""


def test_ctrl_c_ends_a_wait_and_leaves_the_queue(server: LockServer, resource: str) -> None:
    server.take(resource)
    process = subprocess.Popen(
        [sys.executable, "-c", WAITS, server.addr, resource],
        env=clean_environment(LOCKSERVER_SECRET=SECRET),
        stdout=subprocess.PIPE,
        text=True,
    )
    until(lambda: len(server.waiters(resource)) == 1)
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=20)
    assert out == "interrupted\n"
    assert server.waiters(resource) == []


def test_ctrl_c_releases_what_a_scope_holds(server: LockServer, resource: str) -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", IN_SCOPE, server.addr, resource],
        env=clean_environment(LOCKSERVER_SECRET=SECRET),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "inside\n"
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=20)
    assert "KeyboardInterrupt" in errors
    assert server.look(resource) is None


HANDLES = """
import json, signal, sys
from lockserver_client import LockserverClient
kind = {kind.__name__: kind for kind in (TimeoutError, ConnectionResetError, ConnectionRefusedError, InterruptedError,
        BrokenPipeError, OSError, ValueError, RuntimeError)}[sys.argv[3]]
def handler(number, frame):
    raise kind("of the handler")
signal.signal(signal.SIGUSR1, handler)
client = LockserverClient(sys.argv[1])
client._bounds.cleanup = 20.0
call, resource = sys.argv[2], sys.argv[4]
lock = client.acquire(resource, expire=60) if call in ("renew", "release") else None
print("ready", flush=True)
sys.stdin.readline()
try:
    if lock is not None:
        getattr(lock, call)()
    elif call == "scope":
        with client.lock(resource):
            pass
    else:
        client.acquire(resource)
except kind as error:
    print(json.dumps([type(error).__name__, str(error), client._here().held(resource) != []]))
"""
POLL_FUTEX = ("7", "202")
"""By their numbers on x86-64."""
OF_HANDLERS = ["TimeoutError", "ConnectionResetError", "ConnectionRefusedError", "InterruptedError"]
OF_HANDLERS += ["BrokenPipeError", "OSError", "ValueError", "RuntimeError"]


class Handling:
    """A process whose signal handler raises what looks like an error of the network."""

    def __init__(self, addr: str, call: str, kind: str, resource: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", HANDLES, addr, call, kind, resource],
            env=clean_environment(LOCKSERVER_SECRET=SECRET),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    def go(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write("\n")
        self.process.stdin.flush()

    def interrupt(self) -> None:
        self.process.send_signal(signal.SIGUSR1)

    def said(self) -> list[object]:
        out, _ = self.process.communicate(timeout=30)
        return list(json.loads(out))


@pytest.mark.parametrize("call", ["acquire", "scope"])
@pytest.mark.parametrize("kind", OF_HANDLERS)
def test_what_a_signal_handler_raises_ends_a_wait_and_leaves_the_queue(
    server: LockServer, resource: str, call: str, kind: str
) -> None:
    server.take(resource)
    one = Handling(server.addr, call, kind, resource)
    one.go()
    until(lambda: len(server.waiters(resource)) == 1)
    one.interrupt()
    assert one.said() == [kind, "of the handler", False]
    assert server.waiters(resource) == []


@pytest.mark.parametrize("kind", OF_HANDLERS)
def test_what_a_signal_handler_raises_ends_a_pause_between_two_attempts(resource: str, kind: str) -> None:
    script = Scripted(otherwise=lambda heard: refused(503, "draining", retry_after="60"))
    one = Handling(script.addr, "acquire", kind, resource)
    one.go()
    until(lambda: script.paths() == ["/session", "/acquire"])
    script.script.append(released())
    one.interrupt()
    assert one.said() == [kind, "of the handler", False]
    assert script.paths() == ["/session", "/acquire", "/release"]
    script.close()


@pytest.mark.parametrize("kind", OF_HANDLERS)
def test_what_a_signal_handler_raises_ends_a_renewal(proxy: Proxy, resource: str, kind: str) -> None:
    one = Handling(proxy.addr, "renew", kind, resource)
    proxy.swallow_answers()
    one.go()
    until(lambda: asleep(one.process.pid))
    one.interrupt()
    assert one.said() == [kind, "of the handler", True]


@pytest.mark.parametrize("kind", OF_HANDLERS)
def test_what_a_signal_handler_raises_ends_a_release_that_reaches_the_server_all_the_same(
    server: LockServer, proxy: Proxy, resource: str, kind: str
) -> None:
    one = Handling(proxy.addr, "release", kind, resource)
    toxic = proxy.swallow_requests()
    one.go()
    until(lambda: asleep(one.process.pid))
    assert len(server.holders(resource)) == 1
    one.interrupt()
    proxy.heal(toxic)
    assert one.said() == [kind, "of the handler", False]
    assert server.holders(resource) == []


def asleep(pid: int) -> bool:
    """Whether a process waits for an answer: in a call to the system's poll, or for another thread that is."""

    def waits() -> bool:
        where = Path(f"/proc/{pid}/wchan").read_text()
        return "poll" in where or "futex" in where or Path(f"/proc/{pid}/syscall").read_text().split()[0] in POLL_FUTEX

    first = waits()
    time.sleep(0.05)
    return first and waits()  # once may be for a moment


def test_a_waiting_thread_keeps_the_process_alive(server: LockServer, resource: str) -> None:
    server.take(resource)
    code = (
        "import sys, threading\n"
        "from lockserver_client import LockserverClient\n"
        "client = LockserverClient(sys.argv[1])\n"
        "def work():\n"
        "    with client.lock(sys.argv[2]): print('got it')\n"
        "threading.Thread(target=work).start()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, server.addr, resource],
        env=clean_environment(LOCKSERVER_SECRET=SECRET),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: len(server.waiters(resource)) == 1)
    server.give(resource)
    assert process.communicate(timeout=20) == ("got it\n", "")
    assert process.returncode == 0


def test_threads_of_renewal_end_with_their_locks(client: LockserverClient, resource: str) -> None:
    for number in range(20):
        with client.lock(f"{resource}-{number}", expire=0.9):
            if number % 10 == 0:
                time.sleep(0.5)
    until(lambda: renewing() == [], 3)


def renewing() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name in ("lockserver-keeper", "lockserver-renew")]


def test_of_two_renewals_confirmed_at_once_the_longer_counts(client: LockserverClient, resource: str) -> None:
    lock = client.acquire(resource, expire=10)

    def confirmed(expires_in: float, sent: Instant) -> None:
        reply = Reply("done")
        reply.grant, reply.sent = Grant(lock.token, expires_in, 0.0, "exclusive", None), sent
        lock._take(reply)

    class Overtaken(float):
        """Lets another thread confirm a longer lease at every step of a calculation."""

        def __add__(self, other: float) -> float:
            threads.append(threading.Thread(target=confirmed, args=(1000.0, client._clock.now())))
            threads[-1].start()
            threads[-1].join(0.2)
            return float(self) + other

    threads: list[threading.Thread] = []
    now = client._clock.now()
    confirmed(100.0, Instant(now.monotonic, Overtaken(now.wall)))
    for thread in threads:
        thread.join()
    assert lock.expires_in is not None
    assert lock.expires_in > 900


def test_renewal_takes_one_thread_for_many_locks(client: LockserverClient, resource: str) -> None:
    locks = [client.acquire(f"{resource}-{number}", renew=True) for number in range(30)]
    threads = renewing()
    assert len(threads) == 1
    assert threads[0].daemon
    assert all(lock and lock.release() for lock in locks)


def test_a_name_is_looked_up_where_no_thread_can_be_started(
    server: LockServer, resource: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    scope = {
        "__name__": "threading"
    }  # the standard library raises it; what a test's frame raises is a signal handler's
    exec("def full(thread): raise RuntimeError('can\\'t start new thread')", scope)
    with LockserverClient(f"localhost:{server.port}", secret=SECRET) as client:
        monkeypatch.setattr(threading.Thread, "start", scope["full"])
        assert client.acquire(resource, timeout=20) is not None


def test_an_exchange_that_another_thread_ends_is_never_continued_in_the_clear() -> None:
    authority = trustme.CA()
    serving = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost").configure_cert(serving)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)
    near, far = socket.socketpair()

    def serve() -> bytes:
        with serving.wrap_socket(far, server_side=True) as tls:
            return tls.recv(1)

    served = start(serve)
    tls = Tls.over(Stream(near, "there"), trusting, "localhost", "there", time.monotonic() + 20)
    tls.end()
    with pytest.raises(NetworkError):
        tls.write(b"the secret", time.monotonic() + 20)
    tls.close()
    assert served.result() == b""


def test_only_plain_functions_can_be_decorated(client: LockserverClient) -> None:
    async def coroutine() -> None:
        pass

    async def async_generator() -> AsyncIterator[int]:
        yield 1

    def generator() -> Iterator[int]:
        yield 1

    with pytest.raises(TypeError, match="AsyncLockserverClient"):
        client.locked("r")(coroutine)
    for func in (generator, async_generator):
        with pytest.raises(TypeError, match="yields"):
            client.locked("r")(func)


def test_decorated_functions_keep_their_signature(client: LockserverClient) -> None:
    @client.locked("r")
    def work(number: int, *, name: str = "n") -> str:
        return name * number

    assert str(inspect.signature(work)) == "(number: 'int', *, name: 'str' = 'n') -> 'str'"
