"""The conformance driver of the Python SDK's sync client: a thread for each request that is under way."""

import json
import queue
import sys
import threading
import time

import common
from common import HOW, Fault, arguments, get, write
from lockserver_client import LockserverClient

LACKS = {
    "cancel": "nothing can end a call in another thread but its timeout, or closing the client",
    "told": "nothing can interrupt a body in a thread: it asks `lock.lost` or calls `lock.check()`",
}

clients, locks, leaving = {}, {}, {}


def perform(request):
    match request["op"]:
        case "acquire":
            args, kwargs = arguments(request)
            lock = get(clients, request["client"], "client").acquire(*args, **kwargs)
            if not lock:
                return {"granted": False}
            locks[request["lock"]] = lock
            return {"granted": True, "token": lock.token}
        case "scope":
            return scope(request)
        case "release" if "lock" in request:
            return {"released": get(locks, request["lock"], "lock").release()}
        case "release":
            return {"released": get(clients, request["client"], "client").release(request["resource"])}
        case "renew":
            get(locks, request["lock"], "lock").renew(request.get("expire"))
        case "check":
            return common.check(get(locks, request["lock"], "lock"))
        case "watch":
            lock = get(locks, request["lock"], "lock")
            while not lock.lost:
                time.sleep(0.005)
            return {"lost": True}
        case "events":
            events = []
            for event in get(clients, request["client"], "client").watch(request.get("prefix", "")):
                events.append(common.told(event))
                if len(events) == request["count"]:
                    break
            return {"events": events}
        case "close":
            get(clients, request["client"], "client").close()
        case "leaks":
            return {"left": left()}
        case op:
            raise Fault(f"unknown op {op}")
    return {}


def at_once(request):
    """What takes no time is done in the order of the lines."""
    match request["op"]:
        case "hello":
            return common.hello("python-sync", ["with", "locked"], LACKS)
        case "client":
            clients[request["client"]] = client = common.construct(LockserverClient, request)
            return {"owner": client.owner}
        case "leave":
            get(leaving, request["lock"], "scope").put(request["how"])
        case "clock":
            common.set_clock(get(clients, request["client"], "client"), request)
        case "text" if "client" in request:
            return {"texts": common.texts(get(clients, request["client"], "client"))}
        case "text":
            return {"texts": common.texts(get(locks, request["lock"], "lock"))}
        case "env":
            return common.environment()
        case "end":
            return {}
        case _:
            return None
    return {}


def scope(request):
    client = get(clients, request["client"], "client")
    (resource,), options = arguments(request)

    def body(lock=None):
        locks[request["lock"]] = lock = lock or client.current_lock()
        write({"id": request["id"], "event": "entered", "token": lock.token})
        how = leaving[request["lock"]].get()
        if how in HOW:
            raise HOW[how]

    if request.get("form") == "locked":
        client.locked(resource, **options)(body)()
    else:
        with client.lock(resource, **options) as lock:
            body(lock)
    return {"ended": True}


def left():
    end = time.monotonic() + 3
    while (running := common.sdk_threads() + common.open_sockets()) and time.monotonic() < end:
        time.sleep(0.01)
    return running


def answer(request, do):
    try:
        ok = do(request)
    except BaseException as error:
        common.answered(request["id"], error)
    else:
        if ok is not None:
            write({"id": request["id"], "ok": ok})
        return ok is not None
    return True


def main():
    for line in sys.stdin:
        request = json.loads(line)
        if answer(request, at_once):
            if request["op"] == "end":
                return
            continue
        if request["op"] == "scope":
            leaving[request["lock"]] = queue.SimpleQueue()
        waits_for_the_runner = request["op"] in ("scope", "watch", "events")
        threading.Thread(target=answer, args=(request, perform), daemon=waits_for_the_runner).start()
    for client in clients.values():
        client.close()


if __name__ == "__main__":
    main()
