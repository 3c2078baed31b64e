# Generated from src/lockserver_client/_async/_lock.py by tools/generate.py; change that one.
"""One lock that is held, or was."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from .._clock import Instant, SafeDeadline
from .._errors import ConnectionFailedError, LockLostError, NotHeldError
from .._retry import Tries
from .._wire import Grant, Reply, encode, lease
from ._runtime import shielded

if TYPE_CHECKING:
    from ._core import Core


class Lock:
    """A grant of one resource. Made by `acquire` and by scopes; always true in a condition.

    Attributes:
        resource: What is locked.
        owner: The label under which the server shows it.
        id: The name of this one acquisition.
        token: The fencing token: an integer that only rises for a resource. Hand it to whatever the lock guards, and
            let that refuse a token lower than one it has seen.
        mode: `exclusive` or `shared`; None for a semaphore.
        limit: The permits of the semaphore; None for a lock.
    """

    __slots__ = (
        "__weakref__",
        "_core",
        "_deadline",
        "_lease",
        "_loss",
        "_mutex",
        "_on_lost",
        "_release_tries",
        "_renewed_at",
        "_renews",
        "_returned",
        "_stopped",
        "id",
        "limit",
        "mode",
        "owner",
        "resource",
        "token",
    )

    def __init__(
        self,
        core: Core,
        resource: str,
        ident: str,
        grant: Grant,
        sent: Instant,
        lease: float | None,
        renews: bool,
    ) -> None:
        self.resource = resource
        self.owner = core.owner
        self.id = ident
        self.token = grant.token
        self.mode = grant.mode
        self.limit = grant.limit
        self._core = core
        self._lease = lease
        self._renews = renews
        self._deadline = SafeDeadline(core.clock)
        self._deadline.confirm(sent, grant.waited, grant.expires_in)
        self._renewed_at = time.monotonic()
        self._mutex = threading.Lock()
        self._loss: LockLostError | None = None
        self._release_tries = Tries()
        self._returned: bool | None = None
        self._stopped = False
        self._on_lost: Callable[[], None] | None = None

    def __repr__(self) -> str:
        state = "released" if self._returned else "lost" if self.lost else "held"
        return f"<{type(self).__name__} {self.resource!r} token={self.token} {state}>"

    @property
    def lost(self) -> bool:
        """Whether this lock ended, or can no longer be trusted, before it was released.

        Compares clocks when asked. A loss is final. False after a release in time.
        """
        if self._loss is not None:
            return True
        if self._returned:
            return False
        if self._core.pid != os.getpid():
            self._lose("the lock belongs to the process that this one was forked from")
        elif self._deadline.remaining() <= 0:
            self._lose("its lease ran out, or no renewal could be confirmed in time")
        return self._loss is not None

    @property
    def expires_in(self) -> float | None:
        """Seconds for which the lock can still be trusted, 0 once it cannot; None if it is held until released."""
        if self.lost or self._returned:
            return 0.0
        remaining = self._deadline.remaining()
        return None if remaining == float("inf") else max(0.0, remaining)

    def check(self) -> None:
        """Raise LockLostError if the lock is lost. Call it before anything that must not happen without the lock."""
        if self.lost:
            raise self._lost_error()

    def renew(self, expire: float | None = None) -> None:
        """Set the lease to end `expire` seconds from now, if that is later than its end so far.

        Args:
            expire: Seconds; None means the length that the lease was taken with.

        Raises:
            LockLostError: The lock is lost. This is final.
            NotHeldError: The lock was released before.
            InvalidRequestError: `expire` is no number of seconds, or 0.00203 at most.
            ConnectionFailedError: No answer within 30 s; the lock can be trusted until its lease ends.
        """
        expire = lease(expire)
        self.check()
        if self._stopped:
            raise self._was_released()
        end = time.monotonic() + self._core.bounds.unanswered
        try:
            reply, sent = self._core.settle(
                "/renew",
                self._renewal(expire),
                left=lambda: min(end - time.monotonic(), self._deadline.remaining()),
                attempt=self._attempt(),
            )
        except ConnectionFailedError as failure:
            if self.lost:
                raise self._lost_error() from failure
            raise
        if reply.error is not None and not isinstance(reply.error, NotHeldError):
            raise reply.error
        self._take(reply, sent)
        self.check()
        if reply.error is not None:
            raise self._was_released()

    def release(self) -> bool:
        """Give the lock back. Safe to call again; ends the renewal first.

        Returns:
            True if the lock was held until now, False if it was lost before.

        Raises:
            ConnectionFailedError: No answer within 5 s. The lock may still be held; release can be called again.
        """
        lost = self.lost
        return self._give_back() and not lost

    def _give_back(self) -> bool:
        """Release, and return the server's word on whether the lock was held until now."""
        if self._returned is None:
            self._stop()
            if self._core.pid == os.getpid():
                shielded(self._release)
            else:
                self._returned = False
        return bool(self._returned)

    def _release(self) -> None:
        core = self._core
        end = time.monotonic() + core.bounds.release
        body = encode({"resource": self.resource, "owner": self.owner, "token": self.token})
        reply, _ = core.settle(
            "/release",
            body,
            left=lambda: end - time.monotonic(),
            attempt=core.bounds.release / 2,
            tries=self._release_tries,
        )
        if isinstance(reply.error, NotHeldError):
            # An unanswered try is what released it, unless the lease or the server's word speaks against that.
            may_be_ours = self._release_tries.unanswered and self._deadline.remaining() > 0
            if not may_be_ours or reply.error._tells_loss:
                self._lose(f"it was not held any more when it was released ({reply.error.reason})")
                self._returned = False
                return
        elif reply.error is not None:
            raise reply.error
        core.forget(self)
        self._returned = True

    # Renewal, driven by the keeper

    def _due(self) -> float:
        """Seconds until the next renewal."""
        assert self._lease is not None
        return self._renewed_at + self._lease / 3 - time.monotonic()

    def _keep(self) -> bool:
        """Renew once, trying until the lease cannot be trusted any more; true if there is a next time."""
        try:
            reply, sent = self._core.settle(
                "/renew",
                self._renewal(None),
                left=lambda: 0.0 if self._stopped or self.lost else self._deadline.remaining(),
                attempt=self._attempt(),
                renewing=self,
            )
        except ConnectionFailedError:
            return False  # asking `lost` told the holder, if it is a loss
        self._take(reply, sent)
        return not self._stopped

    def _take(self, reply: Reply, sent: Instant) -> None:
        if self._stopped or self.lost:
            return
        if reply.grant is not None:
            with self._mutex:
                self._deadline.confirm(sent, reply.grant.waited, reply.grant.expires_in)
            self._renewed_at = time.monotonic()
        elif isinstance(reply.error, NotHeldError):
            self._lose(f"the server no longer holds it ({reply.error.reason})")

    def _renewal(self, expire: float | None) -> bytes:
        body = {"resource": self.resource, "owner": self.owner, "token": self.token}
        return encode(body if expire is None else {**body, "expire": expire})

    def _attempt(self) -> float:
        bound = self._core.bounds.answer
        return bound if self._lease is None else min(bound, self._lease / 3)

    def _unkept(self) -> None:
        """The client was closed: nobody renews any more."""
        if self._renews:
            self._lose("its client was closed, which ended the renewal")

    # State

    def _stop(self) -> None:
        self._stopped = True
        if self._renews and self._core.pid == os.getpid():
            self._core.keeper.drop(self)

    def _lose(self, why: str) -> None:
        loss = LockLostError(f"the lock on {self.resource!r} (token {self.token}) is lost: {why}")
        if self._core.pid != os.getpid():
            self._loss = loss  # without the mutex: whoever held it at the fork is not here to let go of it
            return
        with self._mutex:
            if self._loss is not None or self._returned is not None:
                return
            self._loss = loss
        told = self._on_lost
        self._stop()
        self._core.forget(self)
        if told is not None:
            told()

    def _lost_error(self) -> LockLostError:
        """A new error each time, as each that is raised carries its own traceback."""
        return LockLostError(str(self._loss))

    def _was_released(self) -> NotHeldError:
        error = NotHeldError(f"the lock on {self.resource!r} (token {self.token}) was released before")
        error.reason = "released"
        return error
