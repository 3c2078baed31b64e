"""One lock that is held, or was."""

from __future__ import annotations

import math
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import NoReturn, Protocol

from .._clock import Instant
from .._contract import LOSSES, RELEASE, RENEW, RENEW_ATTEMPT, RENEW_PART
from .._errors import ConnectionFailedError, LockLostError, NotHeldError
from .._exchange import Exchange
from .._lease import SafeDeadline
from .._operations import Reply, Request, Seconds, lease, named, understand
from .._outcome import Outcome
from ._backend import Event, check_place, current, pause, shielded, shielded_once
from ._keeper import SOON, AsyncKeeper
from ._retry import AsyncLink, AsyncRetry
from ._transport import AsyncSession

_MOST_EARLY = 10_000


class AsyncCall(Protocol):
    """A call that `close` is to end."""

    @property
    def runs_out(self) -> bool:
        """Whether it may get a lease that is not to be renewed."""


class AsyncHoldings:
    """The locks that a client holds in one place: in one process, and of the async client in one event loop."""

    def __init__(self, link: AsyncLink) -> None:
        self.link = link
        self.keeper = AsyncKeeper(link.transport, link.clock, self._none_runs_out)
        self._mutex = threading.Lock()
        self._locks: dict[str, list[AsyncLock]] = {}
        self._losses: dict[str, AsyncLock] = {}
        """By resource: the last lock that was lost, which a release by its name must not take for none."""
        self._sweep_at = 64
        self._strays: dict[tuple[str, object], Exchange] = {}
        """Leases that the server may still hold though nobody here does: by resource and token or id, their session."""
        self._calls: dict[AsyncCall, object] = {}
        self._all_ended = Event()
        self._early: dict[tuple[str, int], str] = {}
        """Losses that were told before their locks were known here."""
        # A session must not keep a client that nobody has any more.
        this = weakref.ref(self)

        def lost(resource: str, token: int, reason: str) -> None:
            if (holdings := this()) is not None:
                holdings._hear(resource, token, reason)

        async def begun(session: AsyncSession) -> None:
            if (holdings := this()) is not None:
                holdings._forget_strays()
                await holdings.keeper.together(session)

        link.transport.attend(lost, begun)

    def begin(self, call: AsyncCall) -> None:
        """Note a call that `close` is to end, and in which thread or task it runs."""
        with self._mutex:
            self._calls[call] = current(self.link.place)

    def end(self, call: AsyncCall) -> None:
        with self._mutex:
            self._calls.pop(call, None)
            if not self._calls:
                self._early.clear()
            if not self._calls and self.link.closed.is_set():
                self._all_ended.set()

    def remember(self, lock: AsyncLock) -> bool:
        """Note that the lock is held, so that `close` finds it; false where `close` has been called."""
        with self._mutex:
            if self.link.closed.is_set():
                return False
            self._locks.setdefault(lock.resource, []).append(lock)
            self._losses.pop(lock.resource, None)
            lost = self._early.pop((lock.resource, lock.token), None) if self._early else None
            full = len(self._locks) > self._sweep_at
        if full:
            self._sweep()
        if lost is not None:
            lock.hear_loss(lost)
        return True

    def _none_runs_out(self, session: Exchange) -> bool:
        """Whether the session has no lease that nobody renews. The server may still hold one that was lost here."""
        if any(lock._lease is not None and not lock._renews and not lock.lost for lock in self._all()):
            return False
        with self._mutex:
            return session not in self._strays.values() and not any(call.runs_out for call in self._calls)

    def leave(self, lock: AsyncLock) -> None:
        """Forget a lock that was lost, whose lease the server may still hold."""
        with self._mutex:
            self._drop(lock)
            if len(self._losses) == LOSSES:
                self._losses.pop(next(iter(self._losses)))
            self._losses[lock.resource] = lock
            if lock._lease is not None and lock._returned is None:
                self._stray(lock.resource, lock.token, lock.session)

    def left_behind(self, resource: str, ident: str) -> None:
        """Note that an acquisition could not be cancelled."""
        session = self.link.transport.session()
        with self._mutex:
            self._stray(resource, ident, session.exchange if session is not None else None)

    def _stray(self, resource: str, name: object, session: object) -> None:
        if isinstance(session, Exchange) and not session.ended:
            self._strays[resource, name] = session

    def _forget_strays(self) -> None:
        """Forget those of sessions that have ended, as no keepalive renews them any more."""
        with self._mutex:
            self._strays = {name: session for name, session in self._strays.items() if not session.ended}

    def _hear(self, resource: str, token: int, reason: str) -> None:
        """The server told a loss by itself."""
        with self._mutex:
            self._strays.pop((resource, token), None)
            locks = [lock for lock in self._locks.get(resource, ()) if lock.token == token]
            if not locks and self._calls and len(self._early) < _MOST_EARLY:
                self._early[resource, token] = reason  # of a lock whose call has yet to take it in
        for lock in locks:
            lock.hear_loss(reason)

    def forget(self, lock: AsyncLock) -> None:
        """Forget a lock that the server does not hold any more."""
        with self._mutex:
            self._drop(lock)
            self._strays.pop((lock.resource, lock.token), None)

    def _drop(self, lock: AsyncLock) -> None:
        locks = self._locks.get(lock.resource)
        if locks and lock in locks:
            locks.remove(lock)
            if not locks:
                del self._locks[lock.resource]

    def held(self, resource: str) -> list[AsyncLock]:
        """The locks on the resource that this client holds."""
        with self._mutex:
            locks = list(self._locks.get(resource, ()))
        return [lock for lock in locks if not lock.lost]

    def take_loss(self, resource: str) -> AsyncLock | None:
        """The lock that was lost there last, if nobody has asked for its release; it is told once."""
        with self._mutex:
            lock = self._losses.pop(resource, None)
        return lock if lock is not None and not lock._asked else None

    def _sweep(self) -> None:
        # Leases that ran out without a word from their holder would pile up otherwise.
        self._sweep_at = 64 + 2 * sum(not lock.lost for lock in self._all())

    def _all(self) -> list[AsyncLock]:
        with self._mutex:
            return [lock for locks in self._locks.values() for lock in locks]

    async def release_by_owner(self, resource: str) -> None:
        """Free whatever the owner holds there. Not repeated once it may have been sent: it names no grant."""
        await shielded_once(lambda: self._release_by_owner(resource))

    async def _release_by_owner(self, resource: str) -> None:
        end = time.monotonic() + self.link.bounds.cleanup
        body = named(resource, self.link.owner)
        retry = AsyncRetry(self.link, lambda: end - time.monotonic(), once=True)
        reply = await retry.send(RELEASE, lambda session: (body, max(end - time.monotonic(), 0.001)))
        if reply.error is not None:
            raise reply.error

    async def close(self) -> None:
        self.link.closed.set()
        for lock in self._all():
            lock._unkept()
        self.link.transport.close()
        await self.keeper.close()
        with self._mutex:
            others = set(self._calls.values()) - {current(self.link.place)}
        if others:
            await pause(self.link.bounds.cleanup, self._all_ended)
        self.link.transport.close()


class AsyncLock:
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
        "_asked",
        "_deadline",
        "_holdings",
        "_lease",
        "_link",
        "_loss",
        "_mutex",
        "_on_lost",
        "_release_unsettled",
        "_renewed_at",
        "_renews",
        "_returned",
        "_stopped",
        "id",
        "limit",
        "mode",
        "owner",
        "resource",
        "session",
        "token",
    )

    def __init__(self, holdings: AsyncHoldings, request: Request, ident: str, reply: Reply) -> None:
        grant = reply.grant
        assert grant is not None
        self.resource = request.resource
        self.owner = holdings.link.owner
        self.id = ident
        self.token = grant.token
        self.mode = grant.mode
        self.limit = grant.limit
        self.session = reply.session
        self._holdings = holdings
        self._link = holdings.link
        self._lease = request.length
        self._renews = request.renew
        self._deadline = SafeDeadline(self._link.clock)
        self._deadline.confirm(reply.sent, grant.waited, grant.expires_in)
        self._renewed_at = time.monotonic()
        self._mutex = threading.Lock()
        self._loss: LockLostError | None = None
        self._release_unsettled = False
        self._returned: bool | None = None
        self._stopped = False
        self._asked = False
        """Whether somebody with the handle has asked for its release."""
        self._on_lost: Callable[[], None] | None = None
        """What a scope wants to be told."""

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
        if self._link.pid != os.getpid():
            self._lose("the lock belongs to the process that this one was forked from")
        elif self._deadline.left() <= 0:
            self._lose("its lease ran out, or no renewal could be confirmed in time")
        return self._loss is not None

    @property
    def expires_in(self) -> float | None:
        """Seconds for which the lock can still be trusted, 0 once it cannot; None if it is held until released."""
        left = 0.0 if self._returned else self._left()
        return None if left == math.inf else left

    def _left(self) -> float:
        """Seconds until the clocks make it a loss; once it was released, they never do."""
        if self._returned:
            return math.inf
        return 0.0 if self.lost else max(0.0, self._deadline.left())

    def check(self) -> None:
        """Raise LockLostError if the lock is lost. Call it before anything that must not happen without the lock."""
        if self.lost:
            raise self._lost_error()

    async def renew(self, expire: Seconds | None = None) -> None:
        """Set the lease to end `expire` seconds from now, if that is later than its end so far.

        Args:
            expire: Seconds or a timedelta; None means the length that the lease was taken with.

        Raises:
            LockLostError: The lock is lost. This is final.
            NotHeldError: The lock was released before.
            InvalidRequestError: `expire` is no number of seconds, or 0.00203 at most.
            ConnectionFailedError: No answer within 30 s; the lock can be trusted until its lease ends.
        """
        length = lease(expire)
        self.check()
        if self._stopped:
            raise self._was_released()
        check_place(self._link.place)
        end = time.monotonic() + self._link.bounds.silence
        retry = AsyncRetry(self._link, lambda: min(end - time.monotonic(), self._deadline.left()))
        try:
            reply = await retry.send(RENEW, lambda session: self.request(session, length))
        except ConnectionFailedError as failure:
            if self.lost:
                raise self._lost_error() from failure
            raise
        if reply.error is not None and not isinstance(reply.error, NotHeldError):
            raise reply.error
        self._take(reply)
        self.check()
        if reply.error is not None:
            raise self._was_released()

    async def release(self) -> bool:
        """Give the lock back. Safe to call again; ends the renewal first.

        Returns:
            True if the lock was held until now, False if it was lost before.

        Raises:
            ConnectionFailedError: No answer within 5 s. The lock may still be held; release can be called again.
        """
        lost = self.lost
        return await self._give_back() and not lost

    async def _give_back(self) -> bool:
        """Release, and return the server's word on whether the lock was held until now."""
        self._asked = True
        if self._returned is None:
            here = check_place(self._link.place)
            self._stop()
            if here:
                await shielded(self._release)
            else:
                self._returned = False
        return bool(self._returned)

    async def _release(self) -> None:
        bound = self._link.bounds.cleanup
        end = time.monotonic() + bound
        body = named(self.resource, self.owner, token=self.token)
        retry = AsyncRetry(self._link, lambda: end - time.monotonic())
        try:
            reply = await retry.send(
                RELEASE, lambda session: (body, max(min(bound / 2, end - time.monotonic()), 0.001))
            )
        except BaseException:
            self._renews = False  # its lease runs out by itself
            raise
        finally:
            self._release_unsettled |= retry.unsettled
        if isinstance(reply.error, NotHeldError):
            # An unanswered attempt is what released it, unless the lease or the server's word speaks against that.
            may_be_ours = self._release_unsettled and self._deadline.left() > 0
            if not may_be_ours or reply.error._tells_loss:
                self._lose(f"it was not held any more when it was released ({reply.error.reason})")
                self._returned = False
                self._holdings.forget(self)
                return
        elif reply.error is not None:
            raise reply.error
        self._returned = True
        self._holdings.forget(self)

    # Renewal, driven by the keeper

    def due(self, part: float = 1.0) -> float:
        """Seconds until the next renewal, or until that part of the time to it has passed; for the keeper."""
        assert self._lease is not None
        return self._renewed_at + self._lease / RENEW_PART * part - time.monotonic()

    async def keep(self) -> float | None:
        """Renew once, trying until the lease cannot be trusted any more; for the keeper. When the next time is due."""
        if self._stopped or self.lost:
            return None
        keeper = self._holdings.keeper
        if self.due() <= 0 and not keeper.busy:
            await keeper.together(self._link.transport.session(), self)
            if self._stopped or self.lost:
                return None
        if (due := self.due()) > 0:
            return due
        if keeper.busy and self._lease is not None:
            return self._lease / RENEW_PART * SOON

        def left() -> float:
            return 0.0 if self._stopped or self.lost else self._deadline.left()

        try:
            reply = await AsyncRetry(self._link, left, tag=self, persist=True).send(RENEW, self.request)
        except ConnectionFailedError:
            return None  # asking `lost` told the holder, if it is a loss
        self._take(reply)
        return None if self._stopped else self.due()

    def _take(self, reply: Reply) -> None:
        if self._stopped or self.lost:
            return
        if reply.grant is not None:
            with self._mutex:
                self._deadline.confirm(reply.sent, reply.grant.waited, reply.grant.expires_in)
            self._renewed_at = time.monotonic()
            self.session = reply.session
        elif isinstance(reply.error, NotHeldError):
            self.hear_loss(reply.error.reason)

    def take(self, outcome: Outcome, sent: Instant) -> None:
        """What became of a renewal that was sent at that moment; for the keeper. What is no answer is asked again."""
        reply = understand(RENEW, outcome, self._link.secret)
        reply.sent = sent
        self._take(reply)

    def kept_alive(self, sent: Instant, later: bool) -> None:
        """The server renewed it by its own length, that moment at the earliest; for the keeper."""
        if not self._stopped and not self.lost:
            with self._mutex:
                self._deadline.confirm(sent, 0.0, self._lease)
            self._renewed_at = time.monotonic()
            if later and self._lease is not None:
                self._renewed_at += self._lease / RENEW_PART * SOON

    def request(self, session: bool, expire: float | None = None) -> tuple[bytes, float]:
        """A renewal, and the bound of an attempt. With the id a session takes the lease over, wherever it came from."""
        bound = min(self._link.bounds.answer, RENEW_ATTEMPT)
        if self._lease is not None:
            bound = min(bound, self._lease / RENEW_PART)
        bound = max(min(bound, self._deadline.left()), 0.001)
        ident = self.id if session else None
        return named(self.resource, self.owner, ident=ident, token=self.token, expire=expire), bound

    def hear_loss(self, reason: str) -> None:
        """The server says that it no longer holds it."""
        self._lose(f"the server no longer holds it ({reason})")
        self._holdings.forget(self)

    def _unkept(self) -> None:
        """The client was closed: nobody renews any more."""
        if self._renews:
            self._lose("its client was closed, which ended the renewal")

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled or copied: it belongs to its client's process; "
            "hand on its `token`, or acquire where the lock is used"
        )

    # State

    def _stop(self) -> None:
        self._stopped = True
        if self._renews and self._link.pid == os.getpid():
            self._holdings.keeper.drop(self)

    def _lose(self, why: str) -> None:
        loss = LockLostError(f"the lock on {self.resource!r} (token {self.token}) is lost: {why}")
        if self._link.pid != os.getpid():
            self._loss = loss  # without the mutex: whoever held it at the fork is not here to let go of it
            return
        with self._mutex:
            if self._loss is not None or self._returned is not None:
                return
            self._loss = loss
        told = self._on_lost
        self._stop()
        self._holdings.leave(self)
        if told is not None:
            told()

    def _lost_error(self) -> LockLostError:
        """A new error each time, as each that is raised carries its own traceback."""
        return LockLostError(str(self._loss))

    def _was_released(self) -> NotHeldError:
        error = NotHeldError(f"the lock on {self.resource!r} (token {self.token}) was released before")
        error.reason = "released"
        return error
