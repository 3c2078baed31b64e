# Generated from src/lockserver_client/_async/_keeper.py by tools/generate.py; change that one.
"""Renews leases while they are held."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Protocol

from .._clock import Clock, Instant
from .._contract import KEEPALIVE, RENEW
from .._exchange import Exchange
from .._outcome import Answer, Outcome
from ._backend import Tasks
from ._transport import Session, Transport

SOON = 0.1
"""What is due within this part of its pause is renewed together with what is due."""


class Kept(Protocol):
    """A lock with a lease that is to be renewed."""

    token: int
    session: object
    """The session whose keepalive renews it."""

    def __hash__(self) -> int: ...

    def due(self, part: float = 1.0) -> float:
        """Seconds until the next renewal, or until that part of the time to it has passed."""

    def keep(self) -> float | None:
        """Renew once, trying until the lease cannot be trusted any more; the seconds until the next time, if any."""

    def request(self, session: bool) -> tuple[bytes, float]:
        """A renewal, and the bound of an attempt."""

    def take(self, outcome: Outcome, sent: Instant) -> None:
        """What became of one that was sent at that moment."""

    def kept_alive(self, sent: Instant, later: bool) -> None:
        """The server renewed it by its own length at the earliest at that moment; `later`: it need not be due first."""

    def hear_loss(self, reason: str) -> None:
        """The server says that it no longer holds it."""


class Keeper:
    """Renews each lock when it is due, and in a session as many others as it can with it.

    A lock whose renewal gets no answer goes on by itself, so that none can hold up another.

    Args:
        alone: Tells whether a session has no lease that is to run out by itself, which a keepalive would renew too.
    """

    def __init__(self, transport: Transport, clock: Clock, alone: Callable[[Exchange], bool]) -> None:
        self._transport = transport
        self._clock = clock
        self._alone = alone
        self._kept: set[Kept] = set()
        self._one = threading.Lock()
        """Held while some are renewed together; nobody waits for it."""
        self._tasks = Tasks(transport.end)

    def expecting(self, renews: bool) -> AbstractContextManager[None]:
        """While a lock is awaited that is to be renewed."""
        return self._tasks.expecting(renews)

    def add(self, lock: Kept) -> None:
        """Renew the lock whenever it is due, until it is dropped or lost."""
        self._kept.add(lock)
        self._tasks.add(lock, lock.due(), lock.keep)

    def drop(self, lock: Kept) -> None:
        """End the renewal."""
        self._kept.discard(lock)
        self._tasks.drop(lock)

    def close(self) -> None:
        self._kept.clear()
        self._tasks.close()

    @property
    def busy(self) -> bool:
        """Whether some are renewed together right now."""
        return self._one.locked()

    def together(self, session: Session | None, first: Kept | None = None) -> None:
        """Renew what can be renewed in one message: all that this session does not know yet, and what is due.

        Nothing happens while that is under way already.
        """
        if session is None or not self._one.acquire(blocking=False):
            return
        try:
            self._together(session, first)
        finally:
            self._one.release()

    def _together(self, session: Session, first: Kept | None) -> None:
        kept = list(self._kept)
        new = [lock for lock in kept if lock.session is not session.exchange]
        if first is not None and not new and self._alone(session.exchange):
            self._keepalive(session, kept, first)
            return
        due = new if first is None else [lock for lock in kept if lock in new or lock.due(1 - SOON) <= 0]
        if not due:
            return
        sent, requests = self._clock.now(), [lock.request(True) for lock in due]
        bound = min(bound for _, bound in requests)
        outcomes = session.ask_all(RENEW, [body for body, _ in requests], bound, first or self)
        for lock, outcome in zip(due, outcomes, strict=True):
            lock.take(outcome, sent)

    def _keepalive(self, session: Session, kept: list[Kept], first: Kept) -> None:
        sent, bound = self._clock.now(), first.request(True)[1]
        (outcome,) = session.ask_all(KEEPALIVE, [b"{}"], bound, first)
        if not isinstance(outcome, Answer) or outcome.status != 200 or outcome.said is None:
            return
        lost, renewed = outcome.said.get("lost"), outcome.said.get("renewed")
        reasons = {one.get("token"): one.get("reason") for one in lost or () if isinstance(one, dict)}
        ended = [lock for lock in kept if lock.token in reasons]
        for lock in ended:
            lock.hear_loss(str(reasons[lock.token]))
        if isinstance(renewed, int) and renewed >= len(kept) - len(ended):
            for lock in kept:
                lock.kept_alive(sent, lock is not first)
