"""What differs between tasks and threads, for threads. `_async/_runtime.py` has the same names."""

from __future__ import annotations

import inspect
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from ._lock import Lock

T = TypeVar("T")
Event = threading.Event


def home() -> object:
    """Where a client's connections can be used: in one process."""
    return os.getpid()


def gone(place: object) -> bool:
    """Whether nothing can run there any more."""
    return place != os.getpid()


def pause(seconds: float, interrupted: threading.Event | None = None) -> None:
    """Sleep, but no longer than until the event is set."""
    if interrupted is None:
        time.sleep(seconds)
    else:
        interrupted.wait(min(seconds, threading.TIMEOUT_MAX))


def shielded(action: Callable[[], T]) -> T:
    """Run an action that must reach the server, even if Ctrl-C (or another signal's exception) interrupts it.

    The action has to be harmless when repeated and bounded in time. Interrupted, this function repeats it once and
    then lets the interruption go on.
    """
    try:
        return action()
    except Exception:
        raise
    except BaseException:
        try:
            action()
        except Exception:  # the interruption is what the caller hears
            pass
        raise


def shielded_once(action: Callable[[], T]) -> T:
    """The same for an action that must not be repeated."""
    return action()


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

    def __init__(self, lock: Lock) -> None:
        pass

    def leave(self, kind: type[BaseException] | None) -> bool:
        """Whether the body was cut short because of a loss; here never."""
        return False
