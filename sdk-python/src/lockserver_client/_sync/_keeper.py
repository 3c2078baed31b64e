"""Renews the locks of one client while they are held.

One daemon thread keeps the times, however many locks there are, and ends soon after the last of them. Each renewal
runs in a thread of its own, so that one that gets no answer cannot hold up another.
"""

from __future__ import annotations

import heapq
import itertools
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from ._lock import Lock
    from ._transport import Transport

_LINGER = 0.5
_NOTHING = nullcontext()
log = logging.getLogger("lockserver_client")


class Keeper:
    def __init__(self, transport: Transport) -> None:
        self._transport = transport
        self._changed = threading.Condition(threading.Lock())
        self._locks: set[Lock] = set()
        self._queue: list[tuple[float, int, Lock]] = []
        self._order = itertools.count()
        self._keeping: threading.Thread | None = None
        self._wakes = 0.0
        self._awaited = 0
        self._renewing: dict[Lock, threading.Thread] = {}
        self._closed = False

    def expecting(self, renews: bool) -> AbstractContextManager[None]:
        """Have the thread ready while a lock is awaited.

        Once the main thread has ended, Python starts no more threads, but those that wait may still get their locks.
        """
        return self._expected() if renews else _NOTHING

    @contextmanager
    def _expected(self) -> Iterator[None]:
        with self._changed:
            self._awaited += 1
            if self._keeping is None and not self._closed:
                thread = threading.Thread(target=self._keep, name="lockserver-keeper", daemon=True)
                try:
                    thread.start()
                    self._keeping = thread
                except RuntimeError as error:
                    log.warning("no thread can be started, so locks cannot be renewed: %s", error)
        try:
            yield
        finally:
            with self._changed:
                self._awaited -= 1

    def add(self, lock: Lock) -> None:
        """Renew the lock whenever it is due, until it is dropped or lost."""
        due = time.monotonic() + lock._due()
        with self._changed:
            if self._closed or lock._stopped:
                return
            self._locks.add(lock)
            heapq.heappush(self._queue, (due, next(self._order), lock))
            if due < self._wakes:
                self._changed.notify()

    def drop(self, lock: Lock) -> None:
        """End the renewal. The keeping thread finds out by itself: to wake it for each short scope would cost more."""
        with self._changed:
            self._locks.discard(lock)
            if len(self._queue) > 64 + 2 * len(self._locks):
                self._queue = [entry for entry in self._queue if entry[2] in self._locks]
                heapq.heapify(self._queue)
            renewing = lock in self._renewing
        if renewing:
            self._transport.abort(lock)

    def close(self) -> None:
        with self._changed:
            self._closed = True
            self._locks.clear()
            self._queue.clear()
            self._changed.notify()
            threads = [*self._renewing.values(), *([self._keeping] if self._keeping else [])]
        for thread in threads:
            if thread is not threading.current_thread():
                thread.join(1.0)

    def _keep(self) -> None:
        idle = False
        while True:
            with self._changed:
                while self._queue and self._queue[0][2] not in self._locks:
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
                lock = heapq.heappop(self._queue)[2]
                started = self._start(lock)
            if not started:
                self._renew(lock)

    def _start(self, lock: Lock) -> bool:
        thread = threading.Thread(target=self._renew, args=(lock,), name="lockserver-renew", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            return False  # the process is at its limit, or about to exit: one after another, then
        self._renewing[lock] = thread
        return True

    def _renew(self, lock: Lock) -> None:
        again = lock._keep()
        with self._changed:
            self._renewing.pop(lock, None)
            wanted = again and lock in self._locks
            self._locks.discard(lock)
        if wanted:
            self.add(lock)
