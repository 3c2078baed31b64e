"""A driver without an SDK: the wire by Python's standard library, and the example for drivers of other SDKs.

It waits in the server's queue with one id, gives its id up when it stops waiting, and releases by token. It does not retry, renew or
look after its leases: that is what SDKs are for, and `LACKS` says so.
"""

import http.client
import json
import os
import secrets
import sys
import threading
import time

HOP = 10.0  # the longest wait of one request, in seconds

LACKS = {
    "auto-renew": "this driver is the bare wire; renewing in the background is an SDK's work",
    "scope": "this driver is the bare wire; scopes are an SDK's work",
    "loss": "this driver is the bare wire; it watches over no lease",
    "done": "this driver is the bare wire; it watches over no lease",
    "told": "this driver is the bare wire; it has no scopes",
    "retry": "this driver is the bare wire; a failed request fails the call",
    "cancel": "a thread that waits in http.client cannot be interrupted",
    "settings": "this driver takes its address and secret from the case alone",
    "dotenv": "this driver takes its address and secret from the case alone",
    "default-owner": "this driver takes its owner from the case alone",
    "original": "there is no API here whose form could be the original's",
    "clock": "this driver looks at no clock but for its own time limit",
    "text": "this driver has no objects that users print",
    "close": "a client here is a set of settings and has nothing to close",
    "leaks": "a client here is a set of settings and leaves nothing behind",
    "exit": "this driver's threads end with it",
    "keep-alive": "one connection a request keeps this driver short",
}


class WireError(Exception):
    """An answer that is no grant: a problem document of the server, or a time limit of our own."""

    def __init__(self, code, message, holders=()):
        super().__init__(message)
        self.code, self.holders = code, list(holders)


class ConnectionFailed(WireError):
    def __init__(self, cause):
        super().__init__("connection_failed", f"no answer from the server: {cause}")


class Client:
    def __init__(self, addr, owner, secret=None, test=None, **_):
        self.addr, self.owner, self.secret = addr, owner, secret
        test = test or {}
        self.hop, self.grace = test.get("hop", HOP), test.get("answer", 10.0)

    def post(self, path, body, wait=0.0):
        """Gives (status, answer)."""
        connection = http.client.HTTPConnection(self.addr, timeout=wait + self.grace)
        headers = {"Content-Type": "application/json"}
        if self.secret is not None:
            headers["X-LOCKSERVER-SECRET"] = self.secret
        try:
            connection.request("POST", path, json.dumps(body).encode(), headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        except (OSError, http.client.HTTPException, ValueError) as e:
            raise ConnectionFailed(e) from e
        finally:
            connection.close()
        if response.status not in (200, 202):
            holders = [h["owner"] for h in answer.get("holders", [])]
            raise WireError(answer.get("code"), answer.get("detail") or answer.get("title"), holders)
        return response.status, answer

    def acquire(self, resource, blocking=True, timeout=None, **fields):
        """Gives the grant, or None where it is not blocking and the lock is not free."""
        body = {"resource": resource, "owner": self.owner, "id": secrets.token_hex(16), **fields}
        end = None if timeout is None else time.monotonic() + timeout
        if not blocking and timeout is not None:
            raise WireError("config_invalid", "a timeout is for a call that waits; this one does not")
        while True:
            wait = self.hop if blocking else 0.0
            if end is not None:
                wait = max(0.0, min(wait, end - time.monotonic()))
            try:
                status, answer = self.post("/acquire", {**body, "wait": wait}, wait)
            except WireError as e:
                if e.code == "locked" and not blocking:
                    return None
                if e.code == "locked" and wait == 0:
                    raise WireError("lock_timeout", f"{resource} was not free within {timeout} s", e.holders) from e
                raise
            if status == 200:
                return Lock(self, resource, answer)
            if end is not None and time.monotonic() >= end:
                _, answer = self.post("/release", {"resource": resource, "owner": self.owner, "id": body["id"]})
                raise WireError("lock_timeout", f"{resource} was not free within {timeout} s")

    def release(self, resource):
        self.post("/release", {"resource": resource, "owner": self.owner})
        return True


class Lock:
    def __init__(self, client, resource, grant):
        self.client, self.resource, self.token = client, resource, grant["token"]
        self.released = None

    def _named(self, **more):
        return {"resource": self.resource, "owner": self.client.owner, "token": self.token, **more}

    def release(self):
        if self.released is None:
            try:
                self.client.post("/release", self._named())
                self.released = True
            except WireError as e:
                if e.code != "not_held":
                    raise
                self.released = False
        return self.released

    def renew(self, expire=None):
        try:
            self.client.post("/renew", self._named(**({} if expire is None else {"expire": expire})))
        except WireError as e:
            if e.code == "not_held":
                raise WireError("lock_lost", str(e)) from e
            raise


def name_of(code):
    """`lock_lost` is LockLostError, as codes.json has it."""
    return "".join(word.capitalize() for word in code.split("_")) + "Error" if code else "WireError"


class Driver:
    def __init__(self):
        self.clients, self.locks = {}, {}
        self.writing = threading.Lock()

    def write(self, message):
        with self.writing:
            sys.stdout.write(json.dumps(message) + "\n")
            sys.stdout.flush()

    def serve(self):
        for line in sys.stdin:
            request = json.loads(line)
            # Names must be known before the next line is read; all that may wait gets a thread.
            if request["op"] in ("hello", "client"):
                self.answer(request)
            else:
                threading.Thread(target=self.answer, args=(request,), daemon=True).start()

    def answer(self, request):
        op = getattr(self, "op_" + request["op"], None)
        message = {"id": request.pop("id")}
        try:
            if op is None:
                raise KeyError("unknown op " + request["op"])
            del request["op"]
            message["ok"] = op(**request)
        except WireError as e:
            message["error"] = {"code": e.code, "class": name_of(e.code), "base": True, "message": str(e), "holders": e.holders}
        except Exception as e:  # the driver's own trouble; the runner fails the case
            message["fault"] = f"{type(e).__name__}: {e}"
        self.write(message)

    def op_hello(self, **_):
        return {"protocol": 1, "name": "http", "language": "Python", "version": "0", "names": "exception", "forms": [], "lacks": LACKS}

    def op_client(self, client, **settings):
        self.clients[client] = Client(**settings)
        return {"owner": self.clients[client].owner}

    def op_acquire(self, client, lock, **fields):
        granted = self.clients[client].acquire(**fields)
        if granted is None:
            return {"granted": False}
        self.locks[lock] = granted
        return {"granted": True, "token": granted.token}

    def op_release(self, lock=None, client=None, resource=None):
        return {"released": self.locks[lock].release() if lock else self.clients[client].release(resource)}

    def op_renew(self, lock, expire=None):
        self.locks[lock].renew(expire)
        return {}


if __name__ == "__main__":
    Driver().serve()
    sys.stdout.flush()
    os._exit(0)  # threads that still wait hold nothing up; what they hold is the server's to expire
