"""What both drivers of the Python SDK say in the same way; ../../PROTOCOL.md says what they speak."""

import asyncio
import gc
import json
import os
import platform
import pprint
import socket
import sys
import threading

import lockserver_client
from lockserver_client import LockLostError, LockserverError

# What the protocol's settings for tests are called here.
BOUNDS = {"release": "cleanup", "unanswered": "silence", "unanswered_queued": "silence_queued"}
OPTIONS = ("blocking", "expire", "renew", "timeout", "mode", "limit", "note")
_writing = threading.Lock()


class Fault(Exception):
    """The driver's own trouble."""


class BodyError(Exception):
    """What a body raises that was told to."""


class BodyPanic(BaseException):
    """The same beyond ordinary errors."""


HOW = {"raise": BodyError, "panic": BodyPanic}


def write(message):
    with _writing:
        sys.stdout.write(json.dumps(message) + "\n")
        sys.stdout.flush()


def hello(name, forms, lacks):
    return {
        "protocol": 1,
        "name": name,
        "language": f"Python {platform.python_version()}",
        "version": lockserver_client.__version__,
        "names": "exception",
        "forms": forms,
        "lacks": {
            "done": "`lost` and `check()` are asked, and tell of losses only",
            **lacks,
        },
    }


def construct(kind, request):
    settings = {name: request[name] for name in ("addr", "owner", "secret", "dotenv", "proxy", "transport") if name in request}
    client = kind(**settings)
    for name, seconds in request.get("test", {}).items():
        setattr(client._bounds, BOUNDS.get(name, name), seconds)
    return client


def arguments(request):
    """Positional and keyword arguments of the call, only those that the request has."""
    given = {name: request[name] for name in OPTIONS if name in request}
    if request.get("form") != "original":
        return (request["resource"],), given
    if "expire" in given:
        return (request["resource"], given.get("blocking", True), given["expire"]), {}
    return (request["resource"], *([given["blocking"]] if "blocking" in given else [])), {}


def get(things, name, kind):
    if name not in things:
        raise Fault(f"no {kind} {name}")
    return things[name]


def check(lock):
    before = lock.lost
    try:
        lock.check()
    except LockLostError as error:
        if not lock.lost:
            raise Fault("check() raises, but lost is False") from error
        return {"lost": True, "error": describe(error)}
    if before:
        raise Fault("lost was True, but check() does not raise")
    return {"lost": False}


def told(event):
    if event.kind == "gap":
        return {"kind": event.kind, "missed": event.missed}
    said = {"kind": event.kind, "resource": event.resource, "owner": event.owner, "token": event.token}
    return {name: value for name, value in said.items() if value is not None}


def set_clock(client, request):
    client._clock.monotonic_ahead = request["monotonic"]
    client._clock.wall_ahead = request["wall"]


def texts(thing):
    said = [str(thing), repr(thing), ascii(thing), f"{thing}", "%s %r" % (thing, thing), pprint.pformat(thing)]
    if hasattr(thing, "__dict__"):
        said += [repr(vars(thing)), pprint.pformat(vars(thing))]
    for name in dir(thing):
        if not name.startswith("__"):
            said.append(f"{name}: {getattr(thing, name)!r}")
    return said


def environment():
    return {"env": {name: value for name, value in os.environ.items() if name.startswith("LOCKSERVER_")}}


def open_sockets():
    gc.collect()
    found = [thing for thing in gc.get_objects() if isinstance(thing, socket.socket) and thing.fileno() != -1]
    return [repr(sock) for sock in found if sock.family in (socket.AF_INET, socket.AF_INET6)]


def sdk_threads():
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("lockserver")]


def describe(error, cancelled=False):
    said = {
        "code": getattr(error, "code", None) if isinstance(error, LockserverError) else None,
        "class": type(error).__name__,
        "base": isinstance(error, LockserverError),
        "message": whole(error),
    }
    kinds = [kind.__name__ for kind in (TimeoutError, ConnectionError, ValueError) if isinstance(error, kind)]
    if isinstance(error, asyncio.CancelledError):
        kinds.append("CancelledError")
        if cancelled:
            said["cancelled"] = True
    if kinds:
        said["is"] = kinds
    if isinstance(error, (BodyError, BodyPanic)):
        said["body"] = True
    if getattr(error, "holders", None):
        said["holders"] = [holder.owner for holder in error.holders]
    return said


def whole(error):
    """The message with those of its causes."""
    text = str(error) or type(error).__name__
    return f"{text}: {whole(error.__cause__)}" if error.__cause__ else text


def answered(ident, error):
    if isinstance(error, Fault):
        write({"id": ident, "fault": str(error)})
    else:
        write({"id": ident, "error": describe(error)})
