"""What differs between tasks and threads, for tasks. `_sync/_runtime.py` has the same names."""

from __future__ import annotations

import asyncio
import inspect
import os
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from ._lock import AsyncLock

T = TypeVar("T")
Event = asyncio.Event


def home() -> object:
    """Where a client's connections can be used: in one process, in one event loop."""
    return os.getpid(), asyncio.get_running_loop()


def gone(place: object) -> bool:
    """Whether nothing can run there any more."""
    assert isinstance(place, tuple)
    pid, loop = place
    return bool(pid != os.getpid() or loop.is_closed())


async def pause(seconds: float, interrupted: asyncio.Event | None = None) -> None:
    """Sleep, but no longer than until the event is set."""
    if interrupted is None:
        await asyncio.sleep(seconds)
        return
    try:
        async with asyncio.timeout(seconds):
            await interrupted.wait()
    except TimeoutError:
        pass


async def shielded(action: Callable[[], Awaitable[T]]) -> T:
    """Await an action that must reach the server, even if this task is cancelled meanwhile.

    The action has to be harmless when repeated and bounded in time. Cancelled within it, this function repeats it
    out of the cancellation's reach and then lets the cancellation go on.
    """
    try:
        return await action()
    except asyncio.CancelledError:
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
    try:
        await action()
    except Exception:  # the cancellation is what the caller hears
        pass


def check_decorated(func: Callable[..., Any]) -> None:
    if not inspect.iscoroutinefunction(func):
        raise TypeError(
            f"AsyncLockserverClient.locked() decorates functions made with `async def`, and {func!r} is none; "
            "LockserverClient.locked() is for the others"
        )


class BodyGuard:
    """Cancels the body of a scope when its lock is lost, as `asyncio.timeout` does at its deadline."""

    def __init__(self, lock: AsyncLock) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._task = task
        self._loop = task.get_loop()
        self._before = task.cancelling()
        self._lock = lock
        self._fired = False
        self._left = False
        self._timer: asyncio.TimerHandle | None = None
        lock._on_lost = self._told
        self._arm()

    def _arm(self) -> None:
        remaining = self._lock._deadline.remaining()
        self._timer = self._loop.call_later(max(remaining, 0.0), self._look)

    def _look(self) -> None:
        if not self._left and not self._lock.lost:
            self._arm()

    def _told(self) -> None:
        # `lost` may be asked from any thread, so the loop is what cancels.
        try:
            self._loop.call_soon_threadsafe(self._cancel)
        except RuntimeError:  # the loop was closed, and the body with it
            pass

    def _cancel(self) -> None:
        if not self._left and not self._fired:
            self._fired = True
            self._task.cancel()

    def leave(self, kind: type[BaseException] | None) -> bool:
        """End the watch; true if the body ends by this guard's cancellation and by no other."""
        self._left = True
        self._lock._on_lost = None
        if self._timer is not None:
            self._timer.cancel()
        if not self._fired:
            return False
        return self._task.uncancel() <= self._before and kind is asyncio.CancelledError
