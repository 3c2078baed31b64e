"""HTTP with whichever of the servers it is that is asked."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from .._contract import Operation
from .._exchange import Lost
from .._outcome import Outcome
from .._retry import Bounds
from .._servers import Servers
from .._settings import Address, Settings
from ._http import AsyncHttp
from ._transport import AsyncBody, AsyncSession, Attempt


class AsyncHttpServers:
    """The transport over HTTP."""

    def __init__(self, settings: Settings, bounds: Bounds, servers: Servers) -> None:
        self._servers = servers
        self._over = {one: AsyncHttp(settings, bounds, one) for one in servers.all}

    def addresses(self) -> int:
        """How many servers there are to be asked."""
        return len(self._servers.all)

    def at(self, one: Address) -> AsyncHttp:
        """HTTP with that server."""
        return self._over[one]

    async def send(self, operation: Operation, attempt: Attempt, *, again: bool = False, tag: object = None) -> Outcome:
        """Send one request and read its answer; `again` wants a new connection."""
        one = self._servers.current
        return self._servers.judge(one, await self._over[one].send(operation, attempt, again=again, tag=tag))

    async def follow(
        self, operation: Operation, attempt: Attempt, last: str, tag: object
    ) -> tuple[Outcome, AsyncBody | None]:
        """Ask for a stream of events behind the last one."""
        one = self._servers.current
        outcome, body = await self._over[one].follow(operation, attempt, last, tag)
        return self._servers.judge(one, outcome), body

    def attend(self, lost: Lost, begun: Callable[[AsyncSession], Awaitable[None]]) -> None:
        """Over HTTP the server says nothing by itself."""

    def session(self) -> AsyncSession | None:
        """There is none."""
        return None

    def end(self, tag: object) -> None:
        """End the request of this tag."""
        for over in self._over.values():
            over.end(tag)

    def close(self) -> None:
        """End requests with a tag, close idle connections, and others as soon as their answer is there."""
        for over in self._over.values():
            over.close()
