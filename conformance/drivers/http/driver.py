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

# As contract.json has them.
HOP = 10.0  # the longest wait of one request, in seconds
ANSWER_MAX = 1 << 20  # bytes
WITHOUT_CODE = {400: "invalid_request", 401: "unauthorized", 413: "too_large", 431: "too_large", 500: "internal"}
MEMBERS = {  # what an answer must have to be usable
    ("/acquire", 200): {"token": int, "waited": (int, float), "expires_in": (int, float, type(None))},
    ("/acquire", 202): {"position": int, "place_kept": (int, float)},
    ("/release", 200): {"outcome": str},
    ("/renew", 200): {"token": int, "expires_in": (int, float, type(None))},
}

LACKS = {
    "session": "it talks HTTP alone",
    "auto-renew": "this driver is the bare wire; renewing in the background is an SDK's work",
    "scope": "this driver is the bare wire; scopes are an SDK's work",
    "loss": "this driver is the bare wire; it watches over no lease",
    "events": "this driver is the bare wire, which has cases of its own about events",
    "done": "this driver is the bare wire; it watches over no lease",
    "told": "this driver is the bare wire; it has no scopes",
    "retry": "this driver is the bare wire; a failed request fails the call",
    "cancel": "a thread that waits in http.client cannot be interrupted",
    "settings": "this driver takes its address and secret from the case alone",
    "dotenv": "this driver takes its address and secret from the case alone",
    "proxy": "this driver connects to its server and to nothing else",
    "wrong-types": "this driver looks at no argument; the server does",
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


def problem(addr, status, answer, why):
    """The error of an answer that is no success: by its code, without one by its status."""
    if status >= 400 and isinstance(answer, dict) and isinstance(answer.get("code"), str) and answer["code"]:
        return WireError(answer["code"], answer.get("detail") or answer.get("title") or answer["code"], answer.get("holders", ()))
    what = f"answered {status} with {why}" if status in (200, 202) else f"answered {status} without a lockserver's code"
    whose = "is there a proxy in between" if status == 407 else "is this the address of a lockserver"
    return WireError(WITHOUT_CODE.get(status, "connection_failed"), f"{addr} {what}: {whose}?")


def usable(path, status, raw):
    """Gives the answer, and why it cannot be used if it cannot."""
    if len(raw) > ANSWER_MAX:
        return None, f"more than {ANSWER_MAX} bytes"
    try:
        answer = json.loads(raw.decode())
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        return None, "no JSON object"
    for name, kind in MEMBERS.get((path, status), {}).items():
        if name not in answer or not isinstance(answer[name], kind):
            return answer, f'no usable "{name}"'
    return answer, None


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
            raw = response.read(ANSWER_MAX + 1)
        except (OSError, http.client.HTTPException) as e:
            raise WireError("connection_failed", f"no answer from {self.addr}: {e}") from e
        finally:
            connection.close()
        if self.secret:
            raw = raw.replace(self.secret.encode(), b"...")  # a stranger may give the request back, and no error shows the secret
        answer, why = usable(path, response.status, raw)
        if why or (path, response.status) not in MEMBERS:
            raise problem(self.addr, response.status, answer, why)
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
                    raise self.timed_out(resource, timeout, e.holders) from e
                if e.code == "connection_failed":
                    self.give_up(resource, body["id"])
                raise
            if status == 200:
                return Lock(self, resource, answer)
            if end is not None and time.monotonic() >= end:
                self.give_up(resource, body["id"])
                raise self.timed_out(resource, timeout, answer.get("holders", ()))

    def give_up(self, resource, id):
        """Makes sure that no lock comes of the id, as well as one try can."""
        try:
            self.post("/release", {"resource": resource, "owner": self.owner, "id": id})
        except WireError:
            pass  # not_held, as it should be; or the server is away, and the caller knows already

    def timed_out(self, resource, timeout, holders):
        text = f'resource "{resource}" was not granted within {timeout} s'
        if holders:
            text += f": held by {holders[0]['owner']} for {holders[0].get('held_for', 0):.0f} s"
            text += f" and {len(holders) - 1} others" if len(holders) > 1 else ""
            text += ", which is this very client" if holders[0]["owner"] == self.owner else ""
        return WireError("lock_timeout", text, holders)

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
    """`lock_lost` is LockLostError, `id_used` IdUsedError."""
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
            message["error"] = {"code": e.code, "class": name_of(e.code), "base": True, "message": str(e), "holders": [h["owner"] for h in e.holders]}
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
