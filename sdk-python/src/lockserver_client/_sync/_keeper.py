# Generated from src/lockserver_client/_async/_keeper.py by tools/generate.py; change that one.
"""Renews leases while they are held."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from ._backend import Tasks
from ._transport import Transport


class Kept(Protocol):
    """A lock with a lease that is to be renewed."""

    def __hash__(self) -> int: ...

    def due(self) -> float:
        """Seconds until the next renewal."""

    def keep(self) -> float | None:
        """Renew once, trying until the lease cannot be trusted any more; the seconds until the next time, if any."""


class Keeper:
    """Renews each lock by itself, so that one that gets no answer cannot hold up another."""

    def __init__(self, transport: Transport) -> None:
        self._tasks = Tasks(transport.end)

    def expecting(self, renews: bool) -> AbstractContextManager[None]:
        """While a lock is awaited that is to be renewed."""
        return self._tasks.expecting(renews)

    def add(self, lock: Kept) -> None:
        """Renew the lock whenever it is due, until it is dropped or lost."""
        self._tasks.add(lock, lock.due(), lock.keep)

    def drop(self, lock: Kept) -> None:
        """End the renewal."""
        self._tasks.drop(lock)

    def close(self) -> None:
        self._tasks.close()
