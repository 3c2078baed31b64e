"""A driver around a small SDK that has one fault at a time, named by its first argument; without one it is right. It proves that the
cases can fail. faults.yaml lists the faults."""

import os
import sys
import threading
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "http"))
import driver as wire  # noqa: E402

FAULT = sys.argv[1] if len(sys.argv) > 1 else "none"
if FAULT == "codes-from-statuses":
    wire.WITHOUT_CODE |= {404: "not_found", 409: "locked", 429: "too_many_waiters"}
if FAULT == "reads-without-end":
    wire.ANSWER_MAX = 1 << 30

LACKS = {
    feature: "the broken driver has only what the cases need that are there to catch its faults"
    for feature in "token auto-renew events done told cancel modes note proxy wrong-types default-owner original clock close leaks exit keep-alive session".split()
}


def read_dotenv():
    try:
        lines = Path(".env").read_text().splitlines()
    except FileNotFoundError:
        return {}
    pairs = (line.removeprefix("export ").partition("=") for line in lines if "=" in line and not line.startswith("#"))
    return {name.strip(): value.strip().strip("'\"") for name, _, value in pairs}


def setting(argument, name):
    if argument:
        return argument
    file = read_dotenv()
    if FAULT == "changes-environment":
        os.environ.update(file)
    first, second = (file, os.environ) if FAULT == "dotenv-first" else (os.environ, file)
    return first.get(name) or second.get(name)


class Client(wire.Client):
    def __init__(self, addr=None, owner=None, secret=None, test=None, **_):
        super().__init__(
            None, setting(owner, "LOCKSERVER_OWNER"), setting(secret, "LOCKSERVER_SECRET"), test
        )
        self.addrs = [one.removeprefix("http://").rstrip("/") for one in (setting(addr, "LOCKSERVER_ADDR") or "127.0.0.1:8080").split(",")]
        self.addr = self.addrs[0]
        if not self.secret:
            raise wire.WireError("config_invalid", "set LOCKSERVER_SECRET")
        if FAULT == "sends-no-secret":
            self.secret = None
        if FAULT == "follows-proxy-variables" and "http_proxy" in os.environ:
            self.addr = os.environ["http_proxy"].removeprefix("http://")
            self.addrs = [self.addr]

    def __repr__(self):
        return f"Client({self.addr}, {self.secret if FAULT == 'shows-secret' else '…'})"

    def post(self, path, body, wait=0.0):
        if FAULT == "forgets-id" and path == "/acquire":
            body = {**body, "id": os.urandom(8).hex()}
        if FAULT == "leaks-on-giving-up" and path == "/release" and "id" in body:
            return 200, {}
        if FAULT == "forgets-who-answered":
            self.addr = self.addrs[0]
        for _ in range(3 if FAULT == "retries-everything" else len(self.addrs)):
            try:
                return super().post(path, body, wait)
            except wire.WireError as e:
                refused = e
            if refused.code in ("connection_failed", "no_leader", "draining", "store_unavailable") and FAULT != "stays-with-the-first":
                self.addr = self.addrs[(self.addrs.index(self.addr) + 1) % len(self.addrs)]
            elif FAULT != "retries-everything":
                break
        if FAULT == "knows-no-new-codes" and refused.code == "conflict":
            refused.code = "internal"
        raise refused

    def timed_out(self, resource, timeout, holders):
        if FAULT == "hides-the-reason":
            return wire.WireError("lock_timeout", f"{resource} was not free within {timeout} s")
        return super().timed_out(resource, timeout, holders)

    def acquire(self, resource, blocking=True, timeout=None, **fields):
        sent = time.monotonic()
        if FAULT == "polls" and blocking:
            while (grant := super().acquire(resource, False, **fields)) is None:
                time.sleep(0.05)
        elif timeout is None:
            grant = super().acquire(resource, blocking, timeout, **fields)
        else:
            grant = self._within(timeout, resource, blocking, fields)
        return grant and Lock(grant, time.monotonic() if FAULT == "counts-from-the-answer" else sent, fields.get("expire"))

    def _within(self, timeout, resource, blocking, fields):
        """Waits for the answer no longer than the caller does; what comes later is given back."""
        done, outcome = threading.Event(), {}

        def ask():
            try:
                outcome["grant"] = wire.Client.acquire(self, resource, blocking, timeout, **fields)
            except wire.WireError as e:
                outcome["error"] = e
            done.set()

        threading.Thread(target=ask, daemon=True).start()
        if not done.wait(timeout + 0.1):
            threading.Thread(target=self._give_back, args=(done, outcome), daemon=True).start()
            raise wire.WireError("lock_timeout", f"{resource} was not free within {timeout} s")
        if "error" in outcome:
            raise outcome["error"]
        return outcome["grant"]

    @staticmethod
    def _give_back(done, outcome):
        done.wait()
        if "grant" in outcome and FAULT != "loses-grants-of-late-answers":
            outcome["grant"].release()


class Lock:
    """A lock of the bare wire and what is known of its lease."""

    def __init__(self, grant, since, expire):
        self.grant, self.deadline = grant, None if expire is None else since + expire * 0.99 - 0.002

    def __repr__(self):
        return f"Lock({self.grant.resource}, {self.grant.client!r})" if FAULT == "shows-secret" else f"Lock({self.grant.resource})"

    def release(self):
        if FAULT == "releases-by-owner":
            return self.grant.client.release(self.grant.resource)
        lost = self.lost()
        return self.grant.release() and not lost

    def renew(self, expire=None):
        self.grant.renew(expire)

    def lost(self):
        return FAULT != "ignores-loss" and self.deadline is not None and time.monotonic() >= self.deadline


class BodyError(Exception):
    """The body was told to fail."""


class Driver(wire.Driver):
    def __init__(self):
        super().__init__()
        self.leaving = {}

    def op_hello(self, **_):
        return {"protocol": 1, "name": "broken", "language": "Python", "version": FAULT, "names": "exception", "forms": ["with"], "lacks": LACKS}

    def op_client(self, client, **settings):
        self.clients[client] = Client(**settings)
        return {"owner": self.clients[client].owner}

    def op_acquire(self, client, lock, renew=False, **fields):
        granted = self.clients[client].acquire(**fields)
        if granted is None:
            return {"granted": False}
        self.locks[lock] = granted
        return {"granted": True}

    def op_check(self, lock):
        if not self.locks[lock].lost():
            return {"lost": False}
        return {"lost": True, "error": {"code": "lock_lost", "class": "LockLostError", "base": True, "message": "the lease is over"}}

    def op_watch(self, lock):
        while not self.locks[lock].lost():
            time.sleep(0.005)
        return self.op_check(lock)

    def op_text(self, client=None, lock=None):
        thing = self.clients[client] if client else self.locks[lock]
        return {"texts": [str(thing), repr(thing), repr([thing])]}

    def op_env(self):
        return {"env": {k: v for k, v in os.environ.items() if k.startswith("LOCKSERVER_")}}

    def op_leave(self, lock, how):
        self.leaving[lock][1].append(how)
        self.leaving[lock][0].set()
        return {}

    def answer(self, request):
        if request["op"] != "scope":
            super().answer(request)
            return
        id, error = request["id"], None
        self.leaving[request["lock"]] = (told, how) = (threading.Event(), [])
        held = self.clients[request["client"]].acquire(request["resource"], expire=request.get("expire", 30))
        try:
            self.write({"id": id, "event": "entered"})
            told.wait()
            if how[0] != "return":
                raise BodyError("the body was told to fail")
        except BodyError as e:
            error = {"code": None, "class": "BodyError", "base": False, "message": str(e), "body": True}
        finally:
            held.release()
            if FAULT == "raises-in-exit":
                error = {"code": "lock_lost", "class": "LockLostError", "base": True, "message": "the scope ended"}
        self.write({"id": id, "error": error} if error else {"id": id, "ok": {"ended": True}})


if __name__ == "__main__":
    Driver().serve()
    sys.stdout.flush()
    os._exit(0)
