"""Client of Lockserver: exclusive use of named resources, with leases, fencing tokens and fair queues.

    from lockserver_client import LockserverClient

    client = LockserverClient()
    with client.lock("report", timeout=5) as lock:
        write_report(fence=lock.token)

`AsyncLockserverClient` is the same with `await`.
Errors: `LockserverError` and below it one class for each code, drawn in the module `lockserver_client._errors`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ._contract import (
    DrainingError,
    IdUsedError,
    InternalError,
    LimitMismatchError,
    MethodNotAllowedError,
    NoLeaderError,
    NotFoundError,
    StorageFullError,
    StoreUnavailableError,
    TokenRequiredError,
    TooLargeError,
    TooManyLocksError,
    TooManyWaitersError,
    TooManyWrongSecretsError,
    UnauthorizedError,
)
from ._errors import (
    ConfigInvalidError,
    ConnectionFailedError,
    Holder,
    InvalidRequestError,
    LockedError,
    LockLostError,
    LockserverError,
    LockTimeoutError,
    NotHeldError,
)
from ._events import Event
from ._sync._client import LockserverClient
from ._sync._lock import Lock
from ._sync._scope import Scope
from ._version import __version__

if TYPE_CHECKING:
    from ._async._client import AsyncLockserverClient
    from ._async._lock import AsyncLock
    from ._async._scope import AsyncScope

__all__ = [
    "AsyncLock",
    "AsyncLockserverClient",
    "AsyncScope",
    "ConfigInvalidError",
    "ConnectionFailedError",
    "DrainingError",
    "Event",
    "Holder",
    "IdUsedError",
    "InternalError",
    "InvalidRequestError",
    "LimitMismatchError",
    "Lock",
    "LockLostError",
    "LockTimeoutError",
    "LockedError",
    "LockserverClient",
    "LockserverError",
    "MethodNotAllowedError",
    "NoLeaderError",
    "NotFoundError",
    "NotHeldError",
    "Scope",
    "StorageFullError",
    "StoreUnavailableError",
    "TokenRequiredError",
    "TooLargeError",
    "TooManyLocksError",
    "TooManyWaitersError",
    "TooManyWrongSecretsError",
    "UnauthorizedError",
    "__version__",
]

_ASYNC = {"AsyncLockserverClient": "_client", "AsyncLock": "_lock", "AsyncScope": "_scope"}


def __getattr__(name: str) -> Any:
    # asyncio is half of what importing this package would cost, and sync users do not need it.
    if name not in _ASYNC:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"._async.{_ASYNC[name]}", __name__), name)


def __dir__() -> list[str]:
    return sorted(__all__)


for _name in __all__:
    if isinstance(globals().get(_name), type):
        globals()[_name].__module__ = __name__
