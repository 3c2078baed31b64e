# Generated from src/lockserver_client/_async/_acquisition.py by tools/generate.py; change that one.
"""One acquisition from its first request to its lock, or to a clean end without."""

from __future__ import annotations

import json
import logging
import time

from .._contract import ACQUIRE, RELEASE, IdUsedError
from .._errors import ConnectionFailedError, LockedError, LockserverError, LockTimeoutError
from .._operations import NOBODY, Reply, Request, named, new_id
from .._retry import Patience
from ._backend import shielded
from ._lock import Holdings, Lock
from ._retry import Retry

log = logging.getLogger("lockserver_client")


class Acquisition:
    """Waits on the server in hops under one id, so that its place in the queue outlives a connection."""

    def __init__(self, holdings: Holdings, request: Request) -> None:
        self.runs_out = request.length is not None and not request.renew
        self._holdings = holdings
        self._link = holdings.link
        self._request = request
        self._patience = Patience(self._link.bounds, request.most, blocking=request.blocking)
        over = None if request.most is None else self._timed_out
        self._retry = Retry(self._link, self._left, tag=self, single=request.most == 0, over=over)
        self._id = new_id()
        self._began = 0.0
        self._in_the_way = NOBODY
        self._lock: Lock | None = None

    def run(self) -> Lock:
        """The lock, or LockedError where the request is not to wait. Given up in any way, it leaves nothing held."""
        try:
            self._holdings.begin(self)
            with self._holdings.keeper.expecting(self._request.renew):
                while self._lock is None:
                    reply = self._retry.send(ACQUIRE, self._hop)
                    if reply.grant is None:
                        self._go_on(reply)
                    else:
                        lock = Lock(self._holdings, self._request, self._id, reply)
                        if lock._deadline.left() <= 0 and lock.lost:
                            self._ran_out(lock)
                        else:
                            self._take(lock)
            return self._lock
        except BaseException:
            if self._lock is not None:
                self._lock._stop()
                self._holdings.forget(self._lock)
            if self._retry.unsettled:
                shielded(self._cancel)
            raise
        finally:
            self._holdings.end(self)
            del self._retry  # which has this, so that no circle is left for the garbage collector

    def _left(self) -> float:
        return self._patience.left(self._retry.heard)

    def _hop(self, session: bool) -> tuple[bytes, float]:
        wait, bound = self._patience.whole() if session else self._patience.hop()
        self._began = time.monotonic()
        return self._request.body(self._link.owner, self._id, wait), bound

    def _go_on(self, reply: Reply) -> None:
        if reply.in_the_way is not None:
            self._in_the_way = reply.in_the_way
            self._retry.obstacle = reply.in_the_way.told(self._link.owner)
        if reply.error is None and not self._request.blocking:
            error = LockedError("others hold it, and the server queued a call that is not to wait", status=202)
            self._in_the_way.put_on(error)
            raise error
        if reply.error is None:
            self._patience.heard(queued=True)
            if time.monotonic() - self._began < 0.05:  # a server that lets nobody wait is not to be stormed
                self._retry.pause(None)
            else:
                self._retry.progress()
                self._retry.check(None)
        elif isinstance(reply.error, LockedError) and self._request.blocking:
            self._patience.heard(queued=False)
            self._retry.pause(reply.error, reply.retry_after)
        elif isinstance(reply.error, IdUsedError):
            self._rename()
            self._retry.pause(reply.error, reply.retry_after)
        else:
            raise reply.error

    def _ran_out(self, lock: Lock) -> None:
        """The answer was so long under way that nothing is certain any more: a new acquisition takes its place."""
        self._cancel()
        self._holdings.forget(lock)
        self._rename()
        self._retry.obstacle = "the grant had run out before its answer came"
        self._retry.pause(ConnectionFailedError(self._retry.obstacle))

    def _take(self, lock: Lock) -> None:
        self._lock = lock
        if not self._holdings.remember(lock):
            raise ConnectionFailedError("the client was closed")
        if self._request.renew:
            self._holdings.keeper.add(lock)

    def _rename(self) -> None:
        self._id = new_id()
        self._retry.unsettled = False
        self._patience.heard(queued=False)

    def _timed_out(self) -> LockserverError:
        assert self._request.most is not None
        resource = json.dumps(self._request.resource, ensure_ascii=False)
        within = f"{self._request.most:.3f}".rstrip("0").rstrip(".")
        error = LockTimeoutError(f"resource {resource} was not granted within {within} s: {self._retry.obstacle}")
        self._in_the_way.put_on(error)
        return error

    def _cancel(self) -> None:
        """Take the id back, whether it waits, was granted or has yet to arrive."""
        bound = self._link.bounds.cleanup
        end = time.monotonic() + bound
        body = named(self._request.resource, self._link.owner, ident=self._id)
        retry = Retry(self._link, lambda: end - time.monotonic())
        try:
            retry.send(RELEASE, lambda session: (body, max(min(bound / 2, end - time.monotonic()), 0.001)))
        except LockserverError as error:
            self._holdings.left_behind(self._request.resource, self._id)
            log.warning(
                "an acquisition of %r was given up but could not be cancelled: %s", self._request.resource, error
            )
