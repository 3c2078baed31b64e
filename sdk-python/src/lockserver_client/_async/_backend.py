"""What differs between tasks and threads, for tasks. `_sync/_backend.py` has the same names."""

from __future__ import annotations

import asyncio
import heapq
import inspect
import math
import os
import socket
import time
from collections.abc import Awaitable, Callable, Coroutine, Hashable
from contextlib import AbstractContextManager, nullcontext, suppress
from typing import Any, TypeVar, cast

from .._errors import LockserverError
from .._outcome import NetworkError, Outcome, closed, late, network_error, of_handler

T = TypeVar("T")
Event = asyncio.Event
_UNREAD = 1 << 18
_NOTHING = nullcontext()
_SWEEP = 256


# Where a client is used


def place() -> object:
    """Where a client's connections can be used: in one process, in one event loop."""
    return os.getpid(), asyncio.get_running_loop()


def current(where: object) -> object:
    """Who runs this there."""
    assert isinstance(where, tuple)
    return asyncio.current_task(where[1])  # to look for the loop would take a system call


def gone(where: object) -> bool:
    """Whether nothing can run there any more."""
    assert isinstance(where, tuple)
    pid, loop = where
    return bool(pid != os.getpid() or loop.is_closed())


def check_place(where: object) -> bool:
    """Whether a lock is used in its own process. Raise where it is, but in another event loop than its own."""
    assert isinstance(where, tuple)
    here = bool(where[0] == os.getpid())
    if here and where[1] is not asyncio.get_running_loop():
        raise RuntimeError(
            "this lock was acquired in another event loop, and belongs to that one with its connections and renewal: "
            "release and renew it there, and acquire in each loop what is used in it"
        )
    return here


def _of_handler(error: BaseException) -> bool:
    return of_handler(error, type(asyncio._get_running_loop()).__module__)


# Network


async def resolve(host: str, port: int, peer: str, end: float) -> list[Any]:
    """The addresses of a host."""
    try:
        return socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST)
    except socket.gaierror:
        pass
    except ValueError as error:
        raise network_error(error, peer) from error
    try:
        async with asyncio.timeout(end - time.monotonic()):
            return await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        if _of_handler(error):
            raise
        raise network_error(error, peer) from error


class Stream(asyncio.Protocol):
    """A connection. Each call ends by a moment on the monotonic clock, or raises NetworkError."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._unread = b""
        self._paused = False
        self._over: NetworkError | None = None
        """Why nothing more comes."""
        self._ended = False
        self._waits: asyncio.Future[None] | None = None
        self._received: Callable[[bytes], None] | None = None
        self._lost: Callable[[NetworkError], None] | None = None

    @classmethod
    async def open(cls, target: Any, peer: str, end: float) -> Stream:
        family, kind, protocol, _, address = target
        stream = cls(peer)
        sock: socket.socket | None = None
        try:
            async with asyncio.timeout(end - time.monotonic()):
                sock = socket.socket(family, kind, protocol)
                sock.setblocking(False)
                await stream._loop.sock_connect(sock, address)
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                await stream._loop.create_connection(lambda: stream, sock=sock)
            return stream
        except BaseException as error:
            stream.close()
            if sock is not None:
                sock.close()
            if not isinstance(error, OSError) or _of_handler(error):
                raise
            raise network_error(error, peer) from error

    async def read(self, end: float) -> bytes:
        """Some bytes, or none at the end of the stream."""
        if not self._unread and self._over is None and not self._ended:
            self._waits = self._loop.create_future()
            timer = self._loop.call_later(max(end - time.monotonic(), 0.0), self._stop, late(self.peer))
            try:
                await self._waits
            finally:
                timer.cancel()
                self._waits = None
        if self._over is not None and not self._unread:
            raise self._over
        data, self._unread = self._unread, b""
        if self._paused and self._transport is not None:
            self._paused = False
            self._transport.resume_reading()
        return data

    async def write(self, data: bytes, end: float) -> None:
        if self._over is not None:
            raise self._over
        if self._ended or self._transport is None:
            raise closed(self.peer)
        self._transport.write(data)

    def layers(self) -> tuple[Stream, list[Any]]:
        """The connection, and TLS over it."""
        return self, []

    def listen(self, received: Callable[[bytes], None], lost: Callable[[NetworkError], None]) -> None:
        """Hand over what comes as it comes, and why nothing more does; nobody reads from now on."""
        self._received, self._lost = received, lost
        data, self._unread = self._unread, b""
        if data:
            received(data)
        if self._ended or self._over is not None:
            self._wake()

    def send(self, data: bytes) -> None:
        """Write what will be sent in time, or else never."""
        if self._transport is not None:
            self._transport.write(data)

    def quiet(self) -> bool:
        """Whether an idle connection is still open: the other side has neither closed it nor sent anything."""
        return not self._unread and not self._ended and self._over is None

    def end(self) -> None:
        """End what another task does with it."""
        self._stop(NetworkError("given up"))

    def close(self) -> None:
        self.end()
        if self._transport is not None:
            self._transport.abort()

    def _stop(self, why: NetworkError) -> None:
        self._over = self._over or why
        self._wake()

    def _wake(self) -> None:
        if self._lost is not None:
            self._lost(self._over or closed(self.peer))
        if self._waits is not None and not self._waits.done():
            self._waits.set_result(None)

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # other loops' are of other classes

    def data_received(self, data: bytes) -> None:
        if self._received is not None:
            self._received(data)
            return
        self._unread += data
        if len(self._unread) > _UNREAD and self._transport is not None and not self._paused:
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def eof_received(self) -> None:
        self._ended = True
        self._wake()

    def connection_lost(self, error: Exception | None) -> None:
        self._ended = True
        if error is not None:
            self._over = self._over or network_error(error, self.peer)
        self._wake()


# Time and tasks


class Waiter:
    """One task that waits for an outcome."""

    __slots__ = ("outcome", "tag")

    def __init__(self, tag: object, loop: asyncio.AbstractEventLoop | None = None) -> None:
        self.tag = tag
        self.outcome: asyncio.Future[Outcome | None] = (loop or asyncio.get_running_loop()).create_future()

    def give(self, outcome: Outcome | None) -> None:
        if not self.outcome.done():
            self.outcome.set_result(outcome)

    async def wait(self, seconds: float) -> Outcome | None:
        """The outcome; None after so many seconds."""
        timer = self.outcome.get_loop().call_later(max(seconds, 0.0), self.give, None)
        try:
            return await self.outcome
        finally:
            timer.cancel()


class Deadlines:
    """Tells which of the numbers that are awaited are late, with one timer of the loop for all of them.

    A number that is awaited no longer costs nothing but its entry, until that comes up or is swept out.
    """

    def __init__(self, awaited: Callable[[int], object], late: Callable[[int], None]) -> None:
        self._awaited = awaited
        self._late = late
        self._loop = asyncio.get_running_loop()
        self._ends: list[tuple[float, int]] = []
        self._sweep_at = _SWEEP
        self._timer: asyncio.TimerHandle | None = None
        self._wakes = math.inf

    def add(self, end: float, number: int) -> None:
        """It is late from that moment on the monotonic clock."""
        if end == math.inf:
            return
        heapq.heappush(self._ends, (end, number))
        if end < self._wakes:
            self._wake_at(end)
        if len(self._ends) > self._sweep_at:
            self._ends = [one for one in self._ends if self._awaited(one[1])]
            heapq.heapify(self._ends)
            self._sweep_at = _SWEEP + 2 * len(self._ends)

    def end(self) -> None:
        """Nothing is awaited any more."""
        self._ends.clear()
        if self._timer is not None:
            self._timer.cancel()

    def _wake_at(self, end: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._wakes = end
        self._timer = self._loop.call_later(max(end - time.monotonic(), 0.0), self._look)

    def _look(self) -> None:
        self._timer, self._wakes = None, math.inf
        now = time.monotonic()
        while self._ends and (self._ends[0][0] <= now or not self._awaited(self._ends[0][1])):
            self._late(heapq.heappop(self._ends)[1])
        if self._ends:
            self._wake_at(self._ends[0][0])


class Background:
    """Work that nobody waits for; `end` ends it."""

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]], name: str) -> None:
        self._task = asyncio.get_running_loop().create_task(work(), name=name)
        self.started = True

    def end(self) -> None:
        self._task.cancel()


async def pause(seconds: float, interrupted: asyncio.Event | None = None) -> None:
    """Sleep, but no longer than until the event is set."""
    if interrupted is None:
        await asyncio.sleep(seconds)
        return
    try:
        async with asyncio.timeout(seconds):
            await interrupted.wait()
    except TimeoutError as error:
        if _of_handler(error):
            raise


async def shielded(action: Callable[[], Awaitable[T]]) -> T:
    """Await an action that must reach the server, even if this task is cancelled or interrupted meanwhile.

    The action has to be harmless when repeated and bounded in time. Interrupted within it, this function repeats it
    out of the interruption's reach and then lets that go on, which is what the caller hears.
    """
    try:
        return await action()
    except (LockserverError, GeneratorExit):
        raise
    except BaseException:
        while True:
            task = asyncio.ensure_future(_swallow(action))
            while not task.done():
                try:
                    await asyncio.wait([task])
                except asyncio.CancelledError:
                    continue
            if not task.cancelled():
                break
        raise


async def shielded_once(action: Callable[[], Awaitable[T]]) -> T:
    """The same for an action that must not be repeated."""
    task = asyncio.ensure_future(action())
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.wait([task])
        except asyncio.CancelledError as error:
            cancelled = error
    if cancelled is not None and not task.cancelled():
        task.exception()
        raise cancelled
    return task.result()


async def _swallow(action: Callable[[], Awaitable[Any]]) -> None:
    with suppress(LockserverError):
        await action()


class Tasks:
    """Does work for keys when it is due, each in a task of its own, so that none can hold up another.

    A timer for each; a task only while its work is under way. Work returns how many seconds later it is due again, or
    None. Tasks are cancelled; `end` is for threads.
    """

    def __init__(self, end: Callable[[Hashable], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._timers: dict[Hashable, asyncio.TimerHandle] = {}
        self._running: dict[Hashable, asyncio.Task[None]] = {}

    @staticmethod
    def expecting(work: bool) -> AbstractContextManager[None]:
        """Nothing has to be ready before work comes; threads are different there."""
        return _NOTHING

    def add(self, key: Hashable, delay: float, work: Callable[[], Awaitable[float | None]]) -> None:
        self._timers[key] = self._loop.call_later(max(delay, 0.0), self._start, key, work)

    def drop(self, key: Hashable) -> None:
        """No more of it. May be called from any thread, as a lock may be asked for its loss there."""
        if asyncio._get_running_loop() is self._loop:
            self._drop(key)
        else:
            try:
                self._loop.call_soon_threadsafe(self._drop, key)
            except RuntimeError as error:  # the loop was closed, and its timers and tasks with it
                if _of_handler(error):
                    raise

    def _drop(self, key: Hashable) -> None:
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()
        task = self._running.pop(key, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def close(self) -> None:
        tasks = [task for task in self._running.values() if task is not asyncio.current_task()]
        for key in [*self._timers, *self._running]:
            self._drop(key)
        if tasks:
            await asyncio.wait(tasks)

    def _start(self, key: Hashable, work: Callable[[], Awaitable[float | None]]) -> None:
        del self._timers[key]
        self._running[key] = self._loop.create_task(self._do(key, work), name="lockserver-renew")

    async def _do(self, key: Hashable, work: Callable[[], Awaitable[float | None]]) -> None:
        again = await work()
        if self._running.pop(key, None) is not None and again is not None:
            self.add(key, again, work)


# Bodies


def check_decorated(func: Callable[..., Any]) -> None:
    if not inspect.iscoroutinefunction(func):
        raise TypeError(
            f"AsyncLockserverClient.locked() decorates functions made with `async def`, and {func!r} is none; "
            "LockserverClient.locked() is for the others"
        )


class BodyGuard:
    """Cancels the body of a scope when its lock is lost, as `asyncio.timeout` does at its deadline."""

    def __init__(self, left: Callable[[], float]) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._loop = task.get_loop()
        self._before = task.cancelling()
        self._fired = self._over = False
        self._left = left
        self._timer: asyncio.TimerHandle | None = None
        self._look()

    def _look(self) -> None:
        left = self._left()
        if left > 0:
            self._timer = self._loop.call_later(left, self._look)
        else:
            self.tell()

    def tell(self) -> None:
        """The lock is lost. May come from any thread, so the loop is what cancels."""
        try:
            self._loop.call_soon_threadsafe(self._cancel)
        except RuntimeError as error:  # the loop was closed, and the body with it
            if _of_handler(error):
                raise

    def _cancel(self) -> None:
        if not self._over and not self._fired:
            self._fired = True
            self._task.cancel()

    def leave(self, kind: type[BaseException] | None) -> bool:
        """End the watch; true if the body ends by this guard's cancellation and by no other."""
        self._over = True
        if self._timer is not None:
            self._timer.cancel()
        if not self._fired:
            return False
        return self._task.uncancel() <= self._before and kind is asyncio.CancelledError
