"""The conformance driver of the Python SDK's async client: a task for each request that is under way."""

import asyncio
import json
import sys
import time

import common
from common import HOW, Fault, arguments, get, write
from lockserver_client import AsyncLockserverClient

clients, locks, leaving, pending, cancelled = {}, {}, {}, {}, set()


async def perform(request):
    match request["op"]:
        case "hello":
            return common.hello("python-async", ["async with", "locked"], {})
        case "client":
            clients[request["client"]] = client = common.construct(AsyncLockserverClient, request)
            return {"owner": client.owner}
        case "acquire":
            args, kwargs = arguments(request)
            lock = await get(clients, request["client"], "client").acquire(*args, **kwargs)
            if not lock:
                return {"granted": False}
            locks[request["lock"]] = lock
            return {"granted": True, "token": lock.token}
        case "scope":
            return await scope(request)
        case "leave":
            get(leaving, request["lock"], "scope").put_nowait(request["how"])
        case "release" if "lock" in request:
            return {"released": await get(locks, request["lock"], "lock").release()}
        case "release":
            return {"released": await get(clients, request["client"], "client").release(request["resource"])}
        case "renew":
            await get(locks, request["lock"], "lock").renew(request.get("expire"))
        case "check":
            return common.check(get(locks, request["lock"], "lock"))
        case "watch":
            lock = get(locks, request["lock"], "lock")
            while not lock.lost:
                await asyncio.sleep(0.005)
            return {"lost": True}
        case "events":
            events = []
            async for event in get(clients, request["client"], "client").watch(request.get("prefix", "")):
                events.append(common.told(event))
                if len(events) == request["count"]:
                    break
            return {"events": events}
        case "cancel":
            if request["of"] in pending:
                cancelled.add(request["of"])
                pending[request["of"]].cancel()
        case "close":
            await get(clients, request["client"], "client").close()
        case "clock":
            common.set_clock(get(clients, request["client"], "client"), request)
        case "text" if "client" in request:
            return {"texts": common.texts(get(clients, request["client"], "client"))}
        case "text":
            return {"texts": common.texts(get(locks, request["lock"], "lock"))}
        case "env":
            return common.environment()
        case "leaks":
            return {"left": await left()}
        case "end":
            pass
        case op:
            raise Fault(f"unknown op {op}")
    return {}


async def scope(request):
    client = get(clients, request["client"], "client")
    (resource,), options = arguments(request)

    async def body(lock=None):
        locks[request["lock"]] = lock = lock or client.current_lock()
        write({"id": request["id"], "event": "entered", "token": lock.token})
        try:
            how = await leaving[request["lock"]].get()
        except asyncio.CancelledError:
            if request["id"] not in cancelled:
                write({"id": request["id"], "event": "told", "code": "lock_lost"})
            how = await leaving[request["lock"]].get()
            if how not in HOW:
                raise
        if how in HOW:
            raise HOW[how]

    if request.get("form") == "locked":
        await client.locked(resource, **options)(body)()
    else:
        async with client.lock(resource, **options) as lock:
            await body(lock)
    return {"ended": True}


async def left():
    end = time.monotonic() + 3
    while True:
        tasks = [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("lockserver")]
        running = tasks + common.sdk_threads() + common.open_sockets()
        if not running or time.monotonic() > end:
            return running
        await asyncio.sleep(0.01)


async def answer(request):
    try:
        ok = await perform(request)
    except BaseException as error:
        if isinstance(error, Fault):
            write({"id": request["id"], "fault": str(error)})
        else:
            write({"id": request["id"], "error": common.describe(error, request["id"] in cancelled)})
    else:
        write({"id": request["id"], "ok": ok})
    finally:
        del pending[request["id"]]


async def main():
    loop = asyncio.get_running_loop()
    lines = asyncio.StreamReader(2**21)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    async for line in lines:
        request = json.loads(line)
        if request["op"] == "scope":
            leaving[request["lock"]] = asyncio.Queue()
        pending[request["id"]] = task = asyncio.create_task(answer(request), name=f"request {request['id']}")
        if request["op"] == "end":
            # A program whose calls are to end before it does awaits them, as asyncio ends what is left over.
            await asyncio.wait({task, *pending.values()})
            return
    for client in clients.values():
        await client.close()


if __name__ == "__main__":
    asyncio.run(main())
