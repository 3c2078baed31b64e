# Generated from src/lockserver_client/_async/_acquire.py by tools/generate.py; change that one.
"""One acquisition from its first request to its lock, or to a clean end without."""

from __future__ import annotations

import time
from typing import NoReturn

from .._clock import Instant
from .._errors import (
    ConnectionFailedError,
    IdUsedError,
    LockedError,
    LockserverError,
    LockTimeoutError,
    transient,
)
from .._retry import Backoff, Patience
from .._wire import Grant, Request, TransportError, new_id
from ._core import Core
from ._lock import Lock
from ._runtime import pause, shielded


class Acquisition:
    """Waits on the server in hops under one id, so that its place in the queue outlives a connection."""

    def __init__(self, core: Core, request: Request) -> None:
        self._core = core
        self._request = request
        self._patience = Patience(core.bounds, request.timeout, blocking=request.blocking)
        self._backoff = Backoff()
        self._id = new_id()
        self._known = False
        """Whether the server may know the id, so that it has to be cancelled when this is given up."""

    def run(self) -> Lock:
        """The lock, or LockedError where the request is not to wait. Given up in any way, it leaves nothing held."""
        try:
            return self._run()
        except BaseException:
            if self._known:
                shielded(self._cancel)
            raise

    def _run(self) -> Lock:
        fresh = False
        while True:
            before = self._known
            wait, bound = self._patience.hop()
            body = self._request.body(self._core.owner, self._id, wait)
            sent = self._core.clock.now()
            began, retry_after = time.monotonic(), 0.0
            self._known = True
            try:
                answer = self._core.transport.post("/acquire", body, bound=bound, fresh=fresh, tag=self)
            except TransportError as failure:
                self._known = before or failure.sent
                error: LockserverError = ConnectionFailedError(str(failure))
                if failure.hopeless:
                    raise error from failure
                fresh = True
            else:
                reply = self._core.read("/acquire", answer)
                if reply.grant is not None:
                    lock = self._granted(reply.grant, sent)
                    if lock is not None:
                        return lock
                    continue
                if reply.error is None:
                    self._queued(hurried=time.monotonic() - began < 0.05)
                    continue
                error, retry_after, fresh = reply.error, reply.retry_after, False
                self._refused(error, before)
            self._give_up_if_due(error)
            pause(max(0.0, min(self._backoff.next(retry_after), self._patience.left())), self._core.closed)
            self._give_up_if_due(error)

    def _granted(self, grant: Grant, sent: Instant) -> Lock | None:
        asked = self._request
        lock = Lock(self._core, asked.resource, self._id, grant, sent, asked.expire, asked.renew)
        if not lock.lost:
            if not self._core.remember(lock):
                raise ConnectionFailedError("the client was closed")
            return lock
        # The answer was so long under way that nothing is certain any more: a new acquisition takes its place.
        self._cancel()
        self._renamed()
        error = ConnectionFailedError("the grant had run out before its answer came")
        self._give_up_if_due(error)
        pause(max(0.0, min(self._backoff.next(), self._patience.left())), self._core.closed)
        self._give_up_if_due(error)
        return None

    def _queued(self, *, hurried: bool) -> None:
        self._patience.heard(queued=True)
        if hurried:  # a server that lets nobody wait is not to be stormed
            pause(max(0.0, min(self._backoff.next(), self._patience.left())), self._core.closed)
        else:
            self._backoff.reset()
        self._give_up_if_due(None)

    def _refused(self, error: LockserverError, before: bool) -> None:
        """Note what a refusal says about the id; raise what no repetition cures."""
        if isinstance(error, LockedError):
            self._known = before  # an earlier request of this id that got no answer may still arrive
            self._patience.heard(queued=False)
            if not self._request.blocking:
                raise error
        elif isinstance(error, IdUsedError):
            self._renamed()
        elif not transient(error):
            if error.status is not None and 400 <= error.status < 500:
                self._known = before  # any other answer leaves open what became of the request
            raise error

    def _renamed(self) -> None:
        self._id = new_id()
        self._known = False
        self._patience.heard(queued=False)

    def _give_up_if_due(self, error: LockserverError | None) -> None:
        timeout = self._request.timeout
        if self._core.closed.is_set():
            raise ConnectionFailedError("the client was closed") from error
        if timeout is not None and (timeout == 0 or self._patience.left() <= 0):
            self._timed_out(error)
        if timeout is None and self._patience.left() <= 0:
            raise ConnectionFailedError(f"no usable answer to /acquire: {error}") from error

    def _timed_out(self, error: LockserverError | None) -> NoReturn:
        because = "" if error is None else f" (last: {error})"
        raise LockTimeoutError(
            f"{self._request.resource!r} could not be locked within {self._request.timeout:g} s{because}"
        ) from error

    def _cancel(self) -> None:
        self._core.cancel(self._request.resource, self._id)
