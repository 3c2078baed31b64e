"""Doing several things at a time, with tasks. `sync_tasks` is the same with threads."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from lockserver_client import AsyncLockserverClient
from lockserver_client._async._transport import Attempt
from lockserver_client._contract import Operation
from lockserver_client._outcome import Outcome
from support.scripted import InMemory as Script

T = TypeVar("T")
WITHIN = 20.0


class Running(Generic[T]):
    def __init__(self, task: asyncio.Task[T]) -> None:
        self._task = task

    def done(self) -> bool:
        return self._task.done()

    async def result(self, within: float = WITHIN) -> T:
        async with asyncio.timeout(within):
            return await self._task


def start(func: Callable[..., Coroutine[Any, Any, T]], *args: Any, **kwargs: Any) -> Running[T]:
    return Running(asyncio.get_running_loop().create_task(func(*args, **kwargs)))


async def sleep(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def until(condition: Callable[[], Any], within: float = WITHIN) -> None:
    """Wait for something that another process brings about and has no event for here."""
    end = time.monotonic() + within
    while not await asyncio.to_thread(condition):
        assert time.monotonic() < end, "it did not come about"
        await asyncio.sleep(0.005)


async def nothing_left(within: float = WITHIN) -> None:
    """Wait until closed clients run nothing any more."""
    end = time.monotonic() + within
    while left := [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("lockserver")]:
        assert time.monotonic() < end, left
        await asyncio.sleep(0.005)


async def call(func: Callable[..., Awaitable[T]], *args: Any) -> T:
    return await func(*args)


MANY = 200
Client = AsyncLockserverClient


class InMemory(Script):
    async def send(self, operation: Operation, attempt: Attempt, *, again: bool = False, tag: object = None) -> Outcome:
        return self.answer(operation, attempt(False)[0], again)

    async def follow(self, operation: Operation, attempt: Attempt, last: str, tag: object) -> tuple[Outcome, None]:
        return self.answer(operation, attempt(False)[0], False), None
