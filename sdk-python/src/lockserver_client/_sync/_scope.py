# Generated from src/lockserver_client/_async/_scope.py by tools/generate.py; change that one.
"""The scoped form: a lock for the length of a body."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import NoReturn

from .._errors import ConnectionFailedError, LockserverError
from .._operations import Request
from ._acquisition import Acquisition
from ._backend import BodyGuard
from ._lock import Holdings, Lock


class Scope:
    """What `client.lock(...)` returns: acquires when entered, renews while the body runs, releases when left."""

    __slots__ = ("_guard", "_holdings", "_lock", "_request")

    def __init__(self, holdings: Callable[[], Holdings], request: Request) -> None:
        self._holdings = holdings
        self._request = request
        self._lock: Lock | None = None
        self._guard: BodyGuard | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._request.resource!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"a {type(self).__name__} cannot be pickled or copied: make a scope where it is entered")

    def __enter__(self) -> Lock:
        if self._lock is not None:
            raise RuntimeError(f"{self!r} is entered already; make a scope for each `with` by client.lock()")
        lock = Acquisition(self._holdings(), self._request).run()
        self._lock, self._guard = lock, BodyGuard(lock._left)
        lock._on_lost = self._guard.tell
        return lock

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        lock, guard = self._lock, self._guard
        assert lock is not None
        assert guard is not None
        cut_short = guard.leave(kind)
        lock._on_lost = None
        self._lock = self._guard = None
        lost = lock.lost
        try:
            held = lock._give_back()
        except ConnectionFailedError:
            held = not lost
        except LockserverError:
            if error is None:
                raise
            held = True
        if cut_short or (error is None and not held):
            raise lock._lost_error() from None
