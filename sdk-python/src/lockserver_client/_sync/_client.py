# Generated from src/lockserver_client/_async/_client.py by tools/generate.py; change that one.
"""The client."""

from __future__ import annotations

import functools
import os
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from types import TracebackType
from typing import Literal, NoReturn, ParamSpec, Self, TypeVar, overload

from .._clock import Clock
from .._contract import TokenRequiredError
from .._errors import ConnectionFailedError, LockedError, NotHeldError
from .._events import Event
from .._operations import Request, Seconds, text
from .._retry import Bounds
from .._settings import Settings
from ._acquisition import Acquisition
from ._backend import check_decorated, gone, place
from ._lock import Holdings, Lock
from ._retry import Link
from ._scope import Scope
from ._session import transport as default_transport
from ._transport import Transport
from ._watch import watch

P = ParamSpec("P")
R = TypeVar("R")
_current: ContextVar[Lock] = ContextVar("lockserver_client.current_lock")


class LockserverClient:
    """Exclusive use of named resources, from a lock server.

    Each setting is taken from the argument, else from the environment, else from the file `.env` in the working
    directory (read, never put into the environment).

    Args:
        addr: `host:port`, `[v6]:port`, or an `http://` or `https://` URL with an optional path prefix; the port is
            8080 if none is given. Of the servers of a cluster, a list, or a string with commas between them: one is
            asked until it fails, and then the next. `LOCKSERVER_ADDR`; default `127.0.0.1:8080`.
        owner: A label that tells people who holds a lock. `LOCKSERVER_OWNER`; by default host name, process id and
            random bits, new for every client. Threads that share a client exclude each other all the same.
        secret: The server's secret. `LOCKSERVER_SECRET`; there is no default.
        dotenv: False leaves `.env` unread.
        ssl_context: For an `https://` address; by default `ssl.create_default_context()`, with TLS 1.2 at least.
            What it has loaded is shown to a server that asks for a certificate.
        client_cert: The file of a certificate, in PEM, that is shown to such a server. It is loaded into the context,
            again for a new connection once it has changed; while it cannot be used, what it held before is shown.
            Without an `ssl_context`, `LOCKSERVER_CLIENT_CERT`; default none.
        client_key: The file of its private key; without an `ssl_context`, `LOCKSERVER_CLIENT_KEY`.
        proxy: The `http://` or `https://` URL of a web proxy, user name and password allowed, through which every
            connection is to go by way of CONNECT. No environment variable such as `HTTP_PROXY` is followed.
        transport: `session`: everything goes over one connection, a WebSocket, which costs a fraction; `http`: each
            request by itself; `auto`: a session where the server and the way to it allow one, else HTTP.
            `LOCKSERVER_TRANSPORT`; default `auto`.

    Raises:
        ConfigInvalidError: No secret is set anywhere, or a setting cannot be used.

    One client serves any number of threads at the same time and keeps its connections, the first of which it opens when
    it is first used. After a `fork()` the child goes on with connections and an owner of its own, and leaves the
    parent's locks alone.
    """

    def __init__(
        self,
        addr: str | Sequence[str] | None = None,
        owner: str | None = None,
        secret: str | None = None,
        *,
        dotenv: bool = True,
        ssl_context: ssl.SSLContext | None = None,
        proxy: str | None = None,
        transport: str | None = None,
        client_cert: str | os.PathLike[str] | None = None,
        client_key: str | os.PathLike[str] | None = None,
    ) -> None:
        self._settings = Settings.resolve(
            *(addr, owner, secret),
            dotenv=dotenv,
            ssl_context=ssl_context,
            proxy=proxy,
            transport=transport,
            client_cert=client_cert,
            client_key=client_key,
        )
        self._bounds = Bounds()
        self._clock = Clock()
        self._places: dict[object, Holdings] = {}
        self._transport: Callable[[Settings, Bounds], Transport] = default_transport
        self._owner = (os.getpid(), self._settings.new_owner())
        self._closed = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._settings.addr} owner={self.owner!r}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"a {type(self).__name__} cannot be pickled or copied, as it has connections and locks: "
            "make one where it is used, from the settings that were given to this one"
        )

    @property
    def addr(self) -> str:
        """The server's address as a URL; of several, with commas between them."""
        return self._settings.addr

    @property
    def owner(self) -> str:
        """The label under which this client's locks are shown; another one in a forked child, unless it was set."""
        pid, owner = self._owner
        if pid != os.getpid():
            owner = self._settings.new_owner()
            self._owner = (os.getpid(), owner)
        return owner

    @overload
    def acquire(
        self,
        resource: str,
        blocking: Literal[True] = True,
        expire: Seconds | None = None,
        *,
        timeout: Seconds | None = None,
        renew: bool = False,
        mode: str | None = None,
        limit: int | None = None,
        note: str | None = None,
    ) -> Lock: ...

    @overload
    def acquire(
        self,
        resource: str,
        blocking: bool,
        expire: Seconds | None = None,
        *,
        timeout: Seconds | None = None,
        renew: bool = False,
        mode: str | None = None,
        limit: int | None = None,
        note: str | None = None,
    ) -> Lock | None: ...

    def acquire(
        self,
        resource: str,
        blocking: bool = True,
        expire: Seconds | None = None,
        *,
        timeout: Seconds | None = None,
        renew: bool = False,
        mode: str | None = None,
        limit: int | None = None,
        note: str | None = None,
    ) -> Lock | None:
        """Acquire a resource; wait for it in the server's queue, first come first served.

        Without `expire` the lock is held until it is released: if this process dies first, it stays for ever.
        `lock()` has no such risk.

        Args:
            resource: What to lock: 1 to 512 bytes, no control characters.
            blocking: False returns None at once where others hold it.
            expire: Seconds, or a timedelta, after which the lock ends by itself, unless it is renewed: above 0.00203
                (as 1 % and 2 ms are taken off for safety), at most ten years; None: never.
            timeout: Seconds, or a timedelta, to wait at most; None: as long as it takes. 0 is one try.
            renew: Renew the lease (30 s if `expire` says nothing else) at a third of its length until the release.
            mode: `exclusive` (default) or `shared`: readers share, a writer excludes all.
            limit: 1 to 1,000,000: a semaphore with so many permits, instead of a lock.
            note: Up to 1 KiB of text for people who look at the lock.

        Returns:
            The lock; None only where `blocking` is False and others hold the resource.

        Raises:
            LockTimeoutError: `timeout` passed; it says what stood in the way. Nothing is held or queued any more.
            ConnectionFailedError: Without a `timeout`: no answer for 30 s (60 s once queued).
            LimitMismatchError: The resource is in use with another `limit`, or as a lock.
            UnauthorizedError, InvalidRequestError, TooManyLocksError, TooManyWaitersError: The server refuses.
            ConfigInvalidError: A `timeout` together with `blocking=False`.

        If it fails in any way, the client takes its request back; nothing is left held.
        """
        request = Request(resource, blocking, expire, timeout, renew, mode, limit, note)
        try:
            return Acquisition(self._here(), request).run()
        except LockedError:
            return None

    def lock(
        self,
        resource: str,
        *,
        blocking: bool = True,
        expire: Seconds | None = None,
        timeout: Seconds | None = None,
        mode: str | None = None,
        limit: int | None = None,
        note: str | None = None,
    ) -> Scope:
        """Hold a resource for the length of a body; the recommended form.

            with client.lock("report", timeout=5) as lock:
                write_report(fence=lock.token)

        The lock has a lease of `expire` seconds (30 if it is None), which is renewed at a third of its length while
        the body runs, and ends by itself if this process dies. Leaving the body always releases.

        Raises, when the body is entered:
            LockedError: Others hold it, with `blocking=False`.
            LockTimeoutError and the others of `acquire`.

        Raises, when the body is left:
            LockLostError: The body ended well, but without its lock.
                An error of the body's own is never hidden.
        """
        request = Request(resource, blocking, expire, timeout, True, mode, limit, note)
        return Scope(self._here, request)

    def locked(
        self,
        resource: str,
        *,
        blocking: bool = True,
        expire: Seconds | None = None,
        timeout: Seconds | None = None,
        mode: str | None = None,
        limit: int | None = None,
        note: str | None = None,
    ) -> Callable[[Callable[P, R]], Callable[P, R]]:
        """Decorate a function so that every call of it runs as the body of `lock(resource, ...)`.

        `current_lock()` gives the function its lock, for the fencing token and for `check()`.

        Raises:
            TypeError: The function is not of the kind that this client can run.
        """
        if callable(resource):
            raise TypeError('locked() needs the resource: write @client.locked("name")')

        def decorate(func: Callable[P, R]) -> Callable[P, R]:
            check_decorated(func)

            @functools.wraps(func)
            def guarded(*args: P.args, **kwargs: P.kwargs) -> R:
                scope = self.lock(
                    resource, blocking=blocking, expire=expire, timeout=timeout, mode=mode, limit=limit, note=note
                )
                with scope as lock:
                    outer = _current.set(lock)
                    try:
                        return func(*args, **kwargs)
                    finally:
                        _current.reset(outer)

            return guarded

        return decorate

    @staticmethod
    def current_lock() -> Lock:
        """The lock of the decorated function that is running, the innermost one where they are nested.

        Raises:
            LookupError: No function that `locked` decorates is running here.
        """
        lock = _current.get(None)
        if lock is None:
            raise LookupError("current_lock() is for functions decorated with locked(), and none is running here")
        return lock

    def release(self, resource: str) -> bool:
        """Release what this client, or else its owner, holds on the resource.

        With one lock of this client on it, that one; with none, whatever the owner holds there, which may have been
        acquired by another process under the same owner. Prefer the lock's own `release()`.

        Returns:
            True.

        Raises:
            NotHeldError: Nothing of the kind is held (any more). Where this client has lost its lock, nothing is freed.
            TokenRequiredError: Several locks are held on it.
            ConnectionFailedError: No answer within 5 s; whether it was released is unknown.
        """
        text("resource", resource)
        here = self._here()
        locks = here.held(resource)
        if len(locks) > 1:
            raise TokenRequiredError(f"{len(locks)} locks are held on {resource!r}: release the one that is meant")
        lock = locks[0] if locks else here.take_loss(resource)
        if lock is None:
            here.release_by_owner(resource)
        elif not lock.release():
            raise NotHeldError(f"{resource!r} was not held any more when it was released")
        return True

    def watch(self, prefix: str = "") -> Iterator[Event]:
        """What happens to the resources whose names begin with the prefix ("": all), as it happens, but for renewals.

            for event in client.watch("invoices/"):
                print(event.kind, event.resource, event.owner)

        It begins when the loop does. After a cut it goes on behind the last event, at another server of a cluster if
        that is not there; an event of the kind `gap` says that some were missed, as they are by a loop that is slow.
        Leaving the loop ends it.

        Raises, in the loop:
            ConnectionFailedError: No server has answered for 30 s, or the client was closed.
            UnauthorizedError, InvalidRequestError, TooManyWaitersError: The server refuses.
        """
        text("prefix", prefix)
        return watch(self._here, prefix)

    def close(self) -> None:
        """End every renewal and waiting call and close the connections.

        Locks that are renewed count as lost from now on and end with their leases; others stay held. A lock can
        still be released after it.
        """
        self._closed = True
        here = self._places.get(place())
        if here is not None:
            here.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()

    def _here(self) -> Holdings:
        if self._closed:
            raise ConnectionFailedError("the client was closed")
        where = place()
        here = self._places.get(where)
        if here is None:
            for other in [other for other in list(self._places) if gone(other)]:
                self._places.pop(other, None)
            transport = self._transport(self._settings, self._bounds)
            link = Link(self._settings, self.owner, self._bounds, self._clock, transport)
            here = self._places.setdefault(where, Holdings(link))
        return here
