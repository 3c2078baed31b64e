"""Doing several things at a time, with threads. `async_tasks` is the same with tasks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from lockserver_client import LockserverClient
from lockserver_client._contract import Operation
from lockserver_client._outcome import Outcome
from lockserver_client._sync._transport import Attempt
from support.scripted import InMemory as Script

T = TypeVar("T")
WITHIN = 20.0


class Running(Generic[T]):
    def __init__(self, func: Callable[..., T], args: Any, kwargs: Any) -> None:
        self._call = (func, args, kwargs)
        self._outcome: list[T] = []
        self._error: list[BaseException] = []
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        func, args, kwargs = self._call
        try:
            self._outcome.append(func(*args, **kwargs))
        except BaseException as error:
            self._error.append(error)

    def done(self) -> bool:
        return not self._thread.is_alive()

    def result(self, within: float = WITHIN) -> T:
        self._thread.join(within)
        assert self.done(), f"not done within {within} s"
        if self._error:
            raise self._error[0]
        return self._outcome[0]


def start(func: Callable[..., T], *args: Any, **kwargs: Any) -> Running[T]:
    return Running(func, args, kwargs)


def sleep(seconds: float) -> None:
    time.sleep(seconds)


def until(condition: Callable[[], Any], within: float = WITHIN) -> None:
    """Wait for something that another process brings about and has no event for here."""
    end = time.monotonic() + within
    while not condition():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


def nothing_left(within: float = WITHIN) -> None:
    """Wait until closed clients run nothing any more."""
    end = time.monotonic() + within
    while left := [thread.name for thread in threading.enumerate() if thread.name.startswith("lockserver")]:
        assert time.monotonic() < end, left
        time.sleep(0.005)


def call(func: Callable[..., T], *args: Any) -> T:
    return func(*args)


MANY = 50
Client = LockserverClient


class InMemory(Script):
    def send(self, operation: Operation, attempt: Attempt, *, again: bool = False, tag: object = None) -> Outcome:
        return self.answer(operation, attempt(False)[0], again)

    def follow(self, operation: Operation, attempt: Attempt, last: str, tag: object) -> tuple[Outcome, None]:
        return self.answer(operation, attempt(False)[0], False), None
