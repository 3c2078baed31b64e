"""What differs between threads and tasks, for threads. `_async/_backend.py` has the same names."""

from __future__ import annotations

import heapq
import inspect
import itertools
import logging
import os
import select
import socket
import threading
import time
import weakref
from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from typing import Any, TypeVar

from .._errors import LockserverError
from .._outcome import Outcome, late, network_error, of_handler

T = TypeVar("T")
Event = threading.Event
log = logging.getLogger("lockserver_client")
_LINGER = 0.5
_NOTHING = nullcontext()


# Where a client is used


def place() -> object:
    """Where a client's connections can be used: in one process."""
    return os.getpid()


def current(where: object) -> object:
    """Who runs this there."""
    return threading.get_ident()


def gone(where: object) -> bool:
    """Whether nothing can run there any more."""
    return where != os.getpid()


def check_place(where: object) -> bool:
    """Whether a lock is used in its own process. Tasks also raise where it is used in another event loop."""
    return where == os.getpid()


# Network


def resolve(host: str, port: int, peer: str, end: float) -> list[Any]:
    """The addresses of a host."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    except ValueError as error:
        raise network_error(error, peer) from error
    # The system's resolver knows no time limit, so a thread waits for it that can be left behind.
    found: list[Any] = []

    def look_up() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, ValueError) as error:
            found.append(error)

    if start(look_up, "lockserver-resolve", end) is None:
        look_up()  # the process is at its limit, or about to exit: without the bound, then
    if not found:
        raise late(peer)
    if isinstance(found[0], Exception):
        raise network_error(found[0], peer) from found[0]
    return list(found[0])


def start(work: Callable[[], object], name: str, join: float | None = None) -> threading.Thread | None:
    """Run something in a thread, and wait for its end until the moment `join`; None if no thread can be started."""
    thread = threading.Thread(target=work, name=name, daemon=True)
    try:
        thread.start()
    except RuntimeError as error:
        if of_handler(error):
            raise
        return None
    if join is not None:
        thread.join(max(join - time.monotonic(), 0.0))
    return thread


class Stream:
    """A connection. Each call ends by a moment on the monotonic clock, or raises NetworkError."""

    __slots__ = ("__weakref__", "_poll", "peer", "sock")

    def __init__(self, sock: socket.socket, peer: str) -> None:
        self.peer = peer
        self.sock = sock
        # Clients need not be closed: the original's users never did, and get no ResourceWarning for it.
        weakref.finalize(self, sock.close).atexit = False
        self._poll: Any = None
        if hasattr(select, "poll"):
            self._poll = select.poll()
            self._poll.register(sock, select.POLLIN)

    @classmethod
    def open(cls, target: Any, peer: str, end: float) -> Stream:
        family, kind, protocol, _, address = target
        sock: socket.socket | None = None
        try:
            sock = socket.socket(family, kind, protocol)
            sock.settimeout(_left(end, peer))
            sock.connect(address)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            return cls(sock, peer)
        except BaseException as error:
            if sock is not None:
                sock.close()
            if not isinstance(error, OSError) or of_handler(error):
                raise
            raise network_error(error, peer) from error

    def read(self, end: float) -> bytes:
        """Some bytes, or none at the end of the stream."""
        try:
            self.sock.settimeout(_left(end, self.peer))
            return self.sock.recv(65536)
        except OSError as error:
            if of_handler(error):
                raise
            raise network_error(error, self.peer) from error

    def write(self, data: bytes, end: float) -> None:
        try:
            self.sock.settimeout(_left(end, self.peer))
            self.sock.sendall(data)
        except OSError as error:
            if of_handler(error):
                raise
            raise network_error(error, self.peer) from error

    def layers(self) -> tuple[Stream, list[Any]]:
        """The connection, and TLS over it."""
        return self, []

    def quiet(self) -> bool:
        """Whether an idle connection is still open: the other side has neither closed it nor sent anything."""
        if self._poll is not None:
            return not self._poll.poll(0)
        return not select.select([self.sock], [], [], 0)[0]

    def end(self) -> None:
        """End what another thread does with it."""
        try:
            self.sock.shutdown(socket.SHUT_RDWR)
        except OSError as error:  # it has ended by itself
            if of_handler(error):
                raise

    def close(self) -> None:
        self.sock.close()


def _left(end: float, peer: str) -> float:
    left = end - time.monotonic()
    if left <= 0:
        raise late(peer)
    return left


# Time and tasks


class Waiter:
    """One thread that waits for an outcome."""

    __slots__ = ("_sleeps", "outcome", "tag")

    def __init__(self, tag: object) -> None:
        self.tag = tag
        self._sleeps = threading.Lock()
        self._sleeps.acquire()
        self.outcome: Outcome | None = None

    def give(self, outcome: Outcome) -> None:
        if self.outcome is None:
            self.outcome = outcome
            self.wake()

    def wake(self) -> None:
        try:
            self._sleeps.release()
        except RuntimeError:  # it is awake
            pass

    def sleep(self, seconds: float) -> None:
        """Sleep until it is woken, but no longer than so many seconds."""
        self._sleeps.acquire(timeout=max(0.0, min(seconds, threading.TIMEOUT_MAX)))

    def wait(self, seconds: float) -> Outcome | None:
        """The outcome; None after so many seconds."""
        end = time.monotonic() + seconds
        while self.outcome is None and (left := end - time.monotonic()) > 0:
            self.sleep(left)
        return self.outcome


class Background:
    """Work that nobody waits for; it has bounds of its own."""

    def __init__(self, work: Callable[[], None], name: str) -> None:
        self.started = start(work, name) is not None

    def end(self) -> None:
        """Threads cannot be ended."""


def pause(seconds: float, interrupted: threading.Event | None = None) -> None:
    """Sleep, but no longer than until the event is set."""
    if interrupted is None:
        time.sleep(seconds)
    else:
        interrupted.wait(min(seconds, threading.TIMEOUT_MAX))


def shielded(action: Callable[[], T]) -> T:
    """Run an action that must reach the server, even if Ctrl-C or another signal's exception interrupts it.

    The action has to be harmless when repeated and bounded in time. Interrupted, this function repeats it once and
    then lets the interruption go on, which is what the caller hears.
    """
    try:
        return action()
    except LockserverError:
        raise
    except BaseException:
        with suppress(LockserverError):
            action()
        raise


def shielded_once(action: Callable[[], T]) -> T:
    """The same for an action that must not be repeated."""
    return action()


class Tasks:
    """Does work for keys when it is due, each in a thread of its own, so that none can hold up another.

    One daemon thread keeps the times, however many there are, and ends soon after the last of them. Work returns how
    many seconds later it is due again, or None. `end` ends what the work of a key waits for.
    """

    def __init__(self, end: Callable[[Hashable], None]) -> None:
        self._end = end
        self._changed = threading.Condition(threading.Lock())
        self._work: dict[Hashable, Callable[[], float | None]] = {}
        self._queue: list[tuple[float, int, Hashable]] = []
        self._order = itertools.count()
        self._keeping: threading.Thread | None = None
        self._wakes = 0.0
        self._awaited = 0
        self._running: dict[Hashable, threading.Thread] = {}
        self._closed = False

    def expecting(self, work: bool) -> AbstractContextManager[None]:
        """Have the thread ready while work is awaited.

        Once the main thread has ended, Python starts no more threads, but those that wait may still get their locks.
        """
        return self._expected() if work else _NOTHING

    @contextmanager
    def _expected(self) -> Iterator[None]:
        with self._changed:
            self._awaited += 1
        try:
            with self._changed:
                if self._keeping is None and not self._closed:
                    self._keeping = start(self._keep, "lockserver-keeper")
                    if self._keeping is None:
                        log.warning("no thread can be started, so locks cannot be renewed")
            yield
        finally:
            with self._changed:
                self._awaited -= 1

    def add(self, key: Hashable, delay: float, work: Callable[[], float | None]) -> None:
        due = time.monotonic() + delay
        with self._changed:
            if self._closed:
                return
            self._work[key] = work
            heapq.heappush(self._queue, (due, next(self._order), key))
            if due < self._wakes:
                self._changed.notify()

    def drop(self, key: Hashable) -> None:
        """No more of it. The keeping thread finds out by itself: to wake it for each short scope would cost more."""
        with self._changed:
            self._work.pop(key, None)
            if len(self._queue) > 64 + 2 * len(self._work):
                self._queue = [entry for entry in self._queue if entry[2] in self._work]
                heapq.heapify(self._queue)
            running = key in self._running
        if running:
            self._end(key)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._work.clear()
            self._queue.clear()
            self._changed.notify()
            threads = [*self._running.values(), *([self._keeping] if self._keeping else [])]
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(1.0)

    def _keep(self) -> None:
        idle = False
        while True:
            with self._changed:
                while self._queue and self._queue[0][2] not in self._work:
                    heapq.heappop(self._queue)
                if self._closed or (idle and not self._queue and not self._awaited):
                    self._keeping = None
                    return
                idle = not self._queue
                now = time.monotonic()
                if not self._queue or self._queue[0][0] > now:
                    until = min(self._queue[0][0] - now, _LINGER) if self._queue else _LINGER
                    self._wakes = now + until
                    self._changed.wait(until)
                    continue
                key = heapq.heappop(self._queue)[2]
                work = self._work[key]
                thread = start(lambda key=key, work=work: self._do(key, work), "lockserver-renew")  # type: ignore[misc]
                if thread is not None:
                    self._running[key] = thread
            if thread is None:  # the process is at its limit, or about to exit: one after another, then
                self._do(key, work)

    def _do(self, key: Hashable, work: Callable[[], float | None]) -> None:
        again = work()
        with self._changed:
            self._running.pop(key, None)
            wanted = self._work.pop(key, None) is not None
        if wanted and again is not None:
            self.add(key, again, work)


# Bodies


def check_decorated(func: Callable[..., Any]) -> None:
    if inspect.iscoroutinefunction(func):
        raise TypeError(
            f"LockserverClient.locked() decorates plain functions, and {func!r} is made with `async def`; "
            "AsyncLockserverClient.locked() is for those"
        )
    if inspect.isgeneratorfunction(func) or inspect.isasyncgenfunction(func):
        raise TypeError(
            f"locked() cannot hold a lock while {func!r} yields, as its body runs after the call; "
            "take client.lock() inside of it"
        )


class BodyGuard:
    """Nothing can interrupt the body of a sync scope: it asks `lock.lost` or calls `lock.check()`."""

    def __init__(self, left: Callable[[], float]) -> None:
        pass

    def tell(self) -> None:
        """The lock is lost."""

    def leave(self, kind: type[BaseException] | None) -> bool:
        """Whether the body was cut short because of a loss; here never."""
        return False
