# Generated from src/lockserver_client/_async/_core.py by tools/generate.py; change that one.
"""What a client has in one place where it is used: connections, renewals and the locks that it holds."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .._clock import Clock, Instant
from .._errors import ConnectionFailedError, DrainingError, LockserverError, NotHeldError, transient
from .._retry import Backoff, Bounds, Tries
from .._settings import Settings
from .._wire import Answer, Reply, TransportError, encode
from ._keeper import Keeper
from ._runtime import Event, home, pause, shielded_once
from ._transport import Transport

if TYPE_CHECKING:
    from ._lock import Lock

log = logging.getLogger("lockserver_client")


class Core:
    """One process's part of a client; after a fork, or in another event loop, the client makes itself a new one."""

    def __init__(self, settings: Settings, owner: str, bounds: Bounds, clock: Clock) -> None:
        self.home = home()
        self.pid = os.getpid()
        self.owner = owner
        self.bounds = bounds
        self.clock = clock
        self.transport = Transport(settings, bounds)
        self._secret = settings.secret
        self.keeper = Keeper(self.transport)
        self.closed = Event()
        self._mutex = threading.Lock()
        self._held: dict[str, list[Lock]] = {}
        self._sweep_at = 64

    def remember(self, lock: Lock) -> bool:
        """Note that the lock is held, so that `close` finds it; false where `close` has been called."""
        with self._mutex:
            if self.closed.is_set():
                return False
            self._held.setdefault(lock.resource, []).append(lock)
            full = len(self._held) > self._sweep_at
        if full:
            self._sweep()
        return True

    def forget(self, lock: Lock) -> None:
        with self._mutex:
            locks = self._held.get(lock.resource)
            if locks and lock in locks:
                locks.remove(lock)
                if not locks:
                    del self._held[lock.resource]

    def held(self, resource: str) -> list[Lock]:
        """The locks on the resource that this client holds."""
        with self._mutex:
            locks = list(self._held.get(resource, ()))
        return [lock for lock in locks if not lock.lost]

    def _sweep(self) -> None:
        # Leases that ran out without a word from their holder would pile up otherwise.
        with self._mutex:
            locks = [lock for held in self._held.values() for lock in held]
        left = sum(not lock.lost for lock in locks)
        self._sweep_at = 64 + 2 * left

    def read(self, path: str, answer: Answer) -> Reply:
        return Reply.read(path, answer, self._secret)

    def settle(
        self,
        path: str,
        body: bytes,
        *,
        left: Callable[[], float],
        attempt: float,
        renewing: Lock | None = None,
        tries: Tries | None = None,
    ) -> tuple[Reply, Instant]:
        """Repeat a request that may be repeated until an answer decides, as long as `left()` is above 0 seconds.

        Returns the answer and when its request was sent; `tries` notes what the others may have done.
        With a lock that it is `renewing`, every failure and every refusal but `not_held` is repeated too, and `close`
        or the lock's release end it.
        """
        backoff = Backoff()
        tries = tries or Tries()
        fresh = False
        error: Exception | None = None
        while (remaining := left()) > 0:
            retry_after = 0.0
            sent = self.clock.now()
            try:
                answer = self.transport.post(path, body, bound=min(attempt, remaining), fresh=fresh, tag=renewing)
            except TransportError as failure:
                error = failure
                tries.unanswered |= failure.sent
                if failure.hopeless and renewing is None:
                    break
            else:
                reply = self.read(path, answer)
                decided = not transient(reply.error)
                if renewing is not None and reply.error is not None:
                    decided = isinstance(reply.error, NotHeldError)
                if decided:
                    return reply, sent
                error = reply.error
                retry_after = reply.retry_after
                # A server that drains says that it did nothing.
                tries.unanswered |= not isinstance(error, DrainingError)
            fresh = True
            pause(max(0.0, min(backoff.next(retry_after), left())), None if renewing is None else self.closed)
        raise ConnectionFailedError(f"no usable answer to {path}: {error or 'no time left'}") from error

    def cancel(self, resource: str, ident: str) -> None:
        """Take an acquisition back, whether it waits, was granted or has yet to arrive."""
        end = time.monotonic() + self.bounds.release
        body = encode({"resource": resource, "owner": self.owner, "id": ident})
        try:
            self.settle("/release", body, left=lambda: end - time.monotonic(), attempt=self.bounds.release / 2)
        except LockserverError as error:
            log.warning("an acquisition of %r was given up but could not be cancelled: %s", resource, error)

    def release_by_owner(self, resource: str) -> None:
        """Free whatever the owner holds there. Not repeated once it may have been sent: it names no grant."""
        shielded_once(lambda: self._release_by_owner(resource))

    def _release_by_owner(self, resource: str) -> None:
        end = time.monotonic() + self.bounds.release
        body = encode({"resource": resource, "owner": self.owner})
        backoff = Backoff()
        while True:
            left = end - time.monotonic()
            try:
                answer = self.transport.post("/release", body, bound=max(left, 0.001), fresh=True)
            except TransportError as failure:
                delay = backoff.next()
                if failure.sent or end - time.monotonic() <= delay:
                    raise ConnectionFailedError(f"release of {resource!r}: {failure}") from failure
                pause(delay)
            else:
                reply = self.read("/release", answer)
                if reply.error is not None:
                    raise reply.error
                return

    def close(self) -> None:
        self.closed.set()
        with self._mutex:
            locks = [lock for held in self._held.values() for lock in held]
        for lock in locks:
            lock._unkept()
        self.transport.close()
        self.keeper.close()
