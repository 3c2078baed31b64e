"""Renews the locks of one client while they are held: one timer a lock, a task only while a renewal is under way."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._lock import AsyncLock
    from ._transport import Transport


_NOTHING = nullcontext()


class Keeper:
    def __init__(self, transport: Transport) -> None:
        self._loop = asyncio.get_running_loop()
        self._timers: dict[AsyncLock, asyncio.TimerHandle] = {}
        self._tasks: dict[AsyncLock, asyncio.Task[None]] = {}

    @staticmethod
    def expecting(renews: bool) -> AbstractContextManager[None]:
        """Nothing has to be ready before a lock comes; threads are different there."""
        return _NOTHING

    def add(self, lock: AsyncLock) -> None:
        """Renew the lock whenever it is due, until it is dropped or lost."""
        self._timers[lock] = self._loop.call_later(max(lock._due(), 0.0), self._start, lock)

    def drop(self, lock: AsyncLock) -> None:
        """End the renewal. May be called from any thread, as a lock may be asked for its loss there."""
        if asyncio._get_running_loop() is self._loop:
            self._drop(lock)
        else:
            try:
                self._loop.call_soon_threadsafe(self._drop, lock)
            except RuntimeError:  # the loop was closed, and its timers and tasks with it
                pass

    def _drop(self, lock: AsyncLock) -> None:
        timer = self._timers.pop(lock, None)
        if timer is not None:
            timer.cancel()
        task = self._tasks.pop(lock, None)
        if task is not None and task is not asyncio.current_task():
            task.cancel()

    async def close(self) -> None:
        tasks = [task for task in self._tasks.values() if task is not asyncio.current_task()]
        for lock in [*self._timers, *self._tasks]:
            self._drop(lock)
        if tasks:
            await asyncio.wait(tasks)

    def _start(self, lock: AsyncLock) -> None:
        del self._timers[lock]
        self._tasks[lock] = self._loop.create_task(self._renew(lock), name="lockserver-renew")

    async def _renew(self, lock: AsyncLock) -> None:
        again = await lock._keep()
        if self._tasks.pop(lock, None) is not None and again:
            self.add(lock)
