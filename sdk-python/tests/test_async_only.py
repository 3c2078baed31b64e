"""What only tasks can do: be cancelled."""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from typing import Any

import pytest
import uvloop
from support.async_tasks import nothing_left, until
from support.processes import SECRET, LockServer, Proxy

from lockserver_client import AsyncLock, AsyncLockserverClient, LockLostError, LockTimeoutError
from lockserver_client._async._backend import Stream
from lockserver_client._outcome import of_handler


@pytest.fixture
async def client(server: LockServer) -> AsyncIterator[AsyncLockserverClient]:
    async with AsyncLockserverClient(server.addr, secret=SECRET) as made:
        yield made
    await nothing_left()


# Loss in a scope


async def test_a_loss_cancels_the_body(client: AsyncLockserverClient, server: LockServer, resource: str) -> None:
    ended = False
    with pytest.raises(LockLostError, match="evicted"):
        async with client.lock(resource, expire=1.8):
            server.evict(resource)
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                ended = True
                raise
    assert ended
    await asyncio.sleep(0)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_the_safe_deadline_cancels_the_body(own_server: LockServer, resource: str) -> None:
    async with AsyncLockserverClient(own_server.addr, secret=SECRET) as client:
        client._bounds.cleanup = 0.2
        with pytest.raises(LockLostError, match="lease ran out"):
            async with asyncio.timeout(10), client.lock(resource, expire=0.6):
                own_server.pause()
                await asyncio.sleep(20)


async def test_a_body_that_releases_its_lock_itself_is_left_alone(client: AsyncLockserverClient, resource: str) -> None:
    async with client.lock(resource, expire=0.2) as lock:
        assert await lock.release() is True
        await asyncio.sleep(0.5)
        assert lock.expires_in == 0


async def test_a_cancellation_from_outside_stays_one(
    client: AsyncLockserverClient, server: LockServer, resource: str
) -> None:
    entered = asyncio.Event()

    async def work() -> None:
        async with client.lock(resource):
            entered.set()
            await asyncio.sleep(20)

    task = asyncio.create_task(work())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()
    assert server.holders(resource) == []


async def test_a_cancellation_that_meets_a_loss_stays_one(
    client: AsyncLockserverClient, server: LockServer, resource: str
) -> None:
    entered = asyncio.Event()

    async def work() -> None:
        async with client.lock(resource) as lock:
            entered.set()
            try:
                await asyncio.sleep(20)
            finally:
                lock._lose("for the test")

    task = asyncio.create_task(work())
    await entered.wait()
    client_lock = client._here().held(resource)[0]
    client_lock._lose("for the test")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_time_limit_around_a_scope_is_a_time_limit(client: AsyncLockserverClient, resource: str) -> None:
    with pytest.raises(TimeoutError) as caught:
        async with asyncio.timeout(0.1), client.lock(resource):
            await asyncio.sleep(20)
    assert not isinstance(caught.value, LockTimeoutError)


@pytest.mark.parametrize("first", [0, 1], ids=["outer-first", "inner-first"])
async def test_two_scopes_lost_at_once(client: AsyncLockserverClient, resource: str, first: int) -> None:
    with pytest.raises(LockLostError, match="outer"):
        async with client.lock(resource + "outer") as outer, client.lock(resource + "inner") as inner:
            for lock in (inner, outer) if first else (outer, inner):
                lock._lose("for the test")
            await asyncio.sleep(20)
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0
    await asyncio.sleep(0.01)


async def test_a_body_in_a_task_group_is_cancelled_with_its_tasks(
    client: AsyncLockserverClient, server: LockServer, resource: str
) -> None:
    with pytest.raises(LockLostError):
        async with client.lock(resource, expire=0.5), asyncio.TaskGroup() as group:
            group.create_task(asyncio.sleep(20))
            server.evict(resource)


async def test_an_error_that_the_cancelled_body_raises_comes_out(
    client: AsyncLockserverClient, server: LockServer, resource: str
) -> None:
    with pytest.raises(KeyError):
        async with client.lock(resource, expire=0.5):
            server.evict(resource)
            try:
                await asyncio.sleep(20)
            except asyncio.CancelledError:
                raise KeyError("its own") from None
    await asyncio.sleep(0.01)


async def test_a_body_that_swallows_the_cancellation_hears_of_the_loss(
    client: AsyncLockserverClient, server: LockServer, resource: str
) -> None:
    with pytest.raises(LockLostError):
        async with client.lock(resource, expire=0.5):
            server.evict(resource)
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(20)
    await asyncio.sleep(0.01)


async def test_a_loss_noticed_in_another_thread_cancels_the_body(client: AsyncLockserverClient, resource: str) -> None:
    with pytest.raises(LockLostError):
        async with client.lock(resource) as lock:
            client._clock.wall_ahead = 100
            thread = threading.Thread(target=lambda: lock.lost)
            thread.start()
            await asyncio.sleep(20)
    thread.join()


# Cancellation at every await


class Stepped:
    """Awaits something and counts where it is suspended; cancels its task at the chosen point."""

    def __init__(self, coroutine: Awaitable[Any], cancel_at: int) -> None:
        self._inner = coroutine.__await__()
        self._cancel_at = cancel_at
        self.suspended = 0

    def __await__(self) -> Generator[Any, Any, Any]:
        step: Callable[[], Any] = lambda: self._inner.send(None)  # noqa: E731
        while True:
            try:
                waits_for = step()
            except StopIteration as end:
                return end.value
            self.suspended += 1
            if self.suspended == self._cancel_at:
                task = asyncio.current_task()
                assert task is not None
                asyncio.get_running_loop().call_soon(task.cancel)
            try:
                value = yield waits_for
            except BaseException as error:
                step = lambda error=error: self._inner.throw(error)  # type: ignore[misc]  # noqa: E731
            else:
                step = lambda value=value: self._inner.send(value)  # type: ignore[misc]  # noqa: E731


async def free_lock(client: AsyncLockserverClient, server: LockServer, resource: str) -> None:
    async with client.lock(resource):
        await asyncio.sleep(0)


async def contended_lock(client: AsyncLockserverClient, server: LockServer, resource: str) -> None:
    client._bounds.hop = 0.02
    server.take(resource, expire=0.09)
    async with client.lock(resource) as lock:
        await lock.renew()


async def handle(client: AsyncLockserverClient, server: LockServer, resource: str) -> None:
    lock = await client.acquire(resource)
    assert lock is not None
    try:
        await lock.renew()
    finally:
        await lock.release()


async def by_resource(client: AsyncLockserverClient, server: LockServer, resource: str) -> None:
    # Without a handle, the resource is all there is to give it back by.
    try:
        await client.acquire(resource, blocking=False)
    finally:
        with contextlib.suppress(Exception):
            await client.release(resource)


async def timed_out(client: AsyncLockserverClient, server: LockServer, resource: str) -> None:
    server.take(resource)
    with contextlib.suppress(LockTimeoutError):
        await client.acquire(resource, timeout=0.05)


@pytest.mark.parametrize("scenario", [free_lock, contended_lock, handle, by_resource, timed_out])
async def test_cancelled_at_any_await_it_leaves_nothing_held(
    server: LockServer, resource: str, scenario: Callable[..., Awaitable[None]]
) -> None:
    points = 0
    while True:
        points += 1
        name = f"{resource}-{scenario.__name__}-{points}"
        async with AsyncLockserverClient(server.addr, secret=SECRET) as client:
            stepped = Stepped(scenario(client, server, name), points)

            async def run(stepped: Stepped = stepped) -> None:
                await stepped

            task = asyncio.create_task(run())
            await asyncio.wait([task], timeout=20)
            assert task.done(), f"hangs when cancelled at {points}"
            assert [h for h in server.holders(name) if h["owner"] == client.owner] == [], f"cancelled at {points}"
            assert [w for w in server.waiters(name) if w["owner"] == client.owner] == [], f"cancelled at {points}"
        await nothing_left()
        if stepped.suspended < points:
            assert task.exception() is None
            break
        assert task.cancelled(), f"the cancellation at {points} was lost: {task}"
    assert points > 3


async def test_a_release_reaches_the_server_however_often_it_is_cancelled(
    server: LockServer, proxy: Proxy, resource: str
) -> None:
    async with AsyncLockserverClient(proxy.addr, secret=SECRET) as client:
        lock = await client.acquire(resource)
        assert lock is not None
        proxy.toxic("latency", "upstream", latency=1000)
        task = asyncio.create_task(lock.release())
        for _ in range(5):
            await asyncio.sleep(0.02)
            task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert server.holders(resource) == []
        assert await lock.release() is True


async def test_a_loop_that_ends_gives_back_what_its_scopes_hold(server: LockServer, resource: str) -> None:
    def run() -> None:
        async def main() -> None:
            async with AsyncLockserverClient(server.addr, secret=SECRET) as client:
                entered = asyncio.Event()

                async def work() -> None:
                    with contextlib.suppress(LockLostError):  # by the close, if the loop runs for long enough
                        await hold()

                async def hold() -> None:
                    async with client.lock(resource):
                        entered.set()
                        await asyncio.sleep(60)

                tasks = [asyncio.create_task(work()) for _ in range(2)]
                await entered.wait()
                assert len(tasks) == 2

        asyncio.run(main())

    await asyncio.to_thread(run)
    await until(lambda: server.look(resource) is None)


# Kinds of use


async def test_one_client_in_several_loops(server: LockServer, resource: str) -> None:
    client = AsyncLockserverClient(server.addr, secret=SECRET)

    def run() -> tuple[int, str]:
        async def main() -> tuple[int, str]:
            async with client.lock(resource) as lock:
                return lock.token, lock.owner

        async def whole() -> tuple[int, str]:
            result = await main()
            await client._here().close()
            return result

        return asyncio.run(whole())

    first, owner = await asyncio.to_thread(run)
    second, same = await asyncio.to_thread(run)
    assert second > first
    assert same == owner == client.owner


def test_a_lock_says_in_a_second_loop_that_it_belongs_to_the_first(server: LockServer, resource: str) -> None:
    async def acquire() -> tuple[AsyncLockserverClient, AsyncLock]:
        client = AsyncLockserverClient(server.addr, secret=SECRET)
        return client, await client.acquire(resource, expire=60)

    async def use(client: AsyncLockserverClient, lock: AsyncLock) -> None:
        for method in (lock.release, lock.renew):
            with pytest.raises(RuntimeError, match="acquired in another event loop"):
                await method()
        async with client.lock(resource + "-another"):
            assert not lock.lost
        await client._here().close()

    with asyncio.Runner() as first:
        client, lock = first.run(acquire())
        asyncio.run(use(client, lock))
        assert server.holders(resource)[0]["token"] == lock.token
        assert first.run(lock.release()) is True
        first.run(client.close())


def test_a_loss_is_told_after_the_loop_has_ended(server: LockServer, resource: str) -> None:
    async def main() -> tuple[AsyncLockserverClient, AsyncLock]:
        client = AsyncLockserverClient(server.addr, secret=SECRET)
        lock = await client.lock(resource).__aenter__()
        for _ in range(2):  # the second one ends a session, too
            client._here().link.transport.close()
        return client, lock

    client, lock = asyncio.run(main())
    assert not lock.lost
    client._clock.wall_ahead = 100
    assert lock.lost


async def test_an_event_loop_of_another_kind_has_transports_and_errors_of_its_own() -> None:
    class Transport:
        def write(self, data: bytes) -> None:
            written.append(data)

    written: list[bytes] = []
    stream = Stream("there")
    stream.connection_made(Transport())  # type: ignore[arg-type]
    await stream.write(b"asked", 0)
    assert written == [b"asked"]
    scope: dict[str, Any] = {"__name__": "another.loop"}
    exec("def connect(): raise ConnectionRefusedError", scope)
    with pytest.raises(ConnectionRefusedError) as caught:
        scope["connect"]()
    assert of_handler(caught.value)
    assert not of_handler(caught.value, "another.loop")


async def test_only_coroutine_functions_can_be_decorated(client: AsyncLockserverClient) -> None:
    def plain() -> None:
        pass

    async def generates() -> AsyncIterator[int]:
        yield 1

    for func in (plain, generates):
        with pytest.raises(TypeError, match="async def"):
            client.locked("r")(func)  # type: ignore[arg-type]


def test_the_sync_client_does_not_load_asyncio() -> None:
    code = "import sys, lockserver_client; print('asyncio' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False"]


async def test_a_forked_child_runs_a_loop_of_its_own_on_the_same_client(
    client: AsyncLockserverClient, server: LockServer, resource: str
) -> None:
    async with client.lock(resource) as lock:
        read, write = os.pipe()
        child = os.fork()
        if child == 0:

            async def work() -> str:
                async with client.lock(resource + "-child") as own:
                    return f"{lock.lost} {await lock.release()} {own.owner != lock.owner}"

            try:
                text = asyncio.run(work())
            except BaseException as error:
                text = repr(error)
            os.write(write, text.encode())
            os._exit(0)
        os.close(write)
        with os.fdopen(read) as pipe:
            assert await asyncio.to_thread(pipe.read) == "True False True"
        os.waitpid(child, 0)
        assert server.holders(resource)[0]["token"] == lock.token


def test_the_loop_of_uvloop(server: LockServer, proxy: Proxy, resource: str) -> None:
    async def work() -> None:
        for transport in ("session", "http"):
            async with AsyncLockserverClient(proxy.addr, secret=SECRET, transport=transport) as client:
                server.take(resource)
                waiting = [asyncio.create_task(client.acquire(resource)) for _ in range(20)]
                await until(lambda: len(server.waiters(resource)) == 20)
                proxy.cut()
                proxy.mend()
                server.give(resource)
                for one in asyncio.as_completed(waiting):
                    assert await (await one).release() is True
                async with client.lock(resource):
                    pass

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(asyncio.wait_for(work(), 60))
