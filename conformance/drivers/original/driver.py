"""A driver that goes about it as the clients of the original 0.1 server do: it looks at the status alone, polls, and opens a connection
for each call. It shows that such clients work against today's server unchanged. What they cannot do is in `LACKS`."""

import http.client
import json
import os
import sys
import threading
import time

POLL = 0.2  # seconds between two tries

LACKS = {
    feature: "the original's clients know only acquire, by polling, and release by owner"
    for feature in (
        "queue token handle timeout timeout-option cancel renew auto-renew scope loss events done told retry modes note errors settings dotenv proxy wrong-types default-owner "
        "original test-settings clock text close leaks exit keep-alive session"
    ).split()
}


class StatusError(Exception):
    """Any status but those that the original knows."""


class Client:
    def __init__(self, addr, owner, secret):
        self.addr, self.owner, self.secret = addr, owner, secret

    def status(self, path, body):
        connection = http.client.HTTPConnection(self.addr, timeout=30)
        headers = {"Content-Type": "application/json", "X-LOCKSERVER-SECRET": self.secret, "Connection": "close"}
        try:
            connection.request("POST", path, json.dumps(body), headers)
            return connection.getresponse().status
        finally:
            connection.close()

    def acquire(self, resource, blocking=True, expire=None):
        while True:
            status = self.status("/acquire", {"resource": resource, "owner": self.owner, "expire": expire})
            if status == 200:
                return True
            if status != 409:
                raise StatusError(f"status {status}")
            if not blocking:
                return False
            time.sleep(POLL)

    def release(self, resource):
        status = self.status("/release", {"resource": resource, "owner": self.owner})
        if status != 200:
            raise StatusError(f"status {status}")


clients, locks, writing = {}, {}, threading.Lock()


def handle(op, client=None, lock=None, resource=None, addr=None, owner=None, secret="changeme", protocol=None, **options):
    if op == "hello":
        return {"protocol": 1, "name": "original", "language": "Python", "version": "0.1", "names": "exception", "forms": [], "lacks": LACKS}
    if op == "client":
        clients[client] = Client(addr, owner or "default_owner", secret)
        return {"owner": clients[client].owner}
    if op == "acquire":
        locks[lock] = (clients[client], resource)
        return {"granted": clients[client].acquire(resource, **options)}
    if op == "release":
        holder, name = locks[lock] if lock else (clients[client], resource)
        holder.release(name)
        return {"released": True}
    raise KeyError("unknown op " + op)


def answer(request):
    message = {"id": request.pop("id")}
    try:
        message["ok"] = handle(**request)
    except StatusError as e:
        message["error"] = {"code": None, "class": "StatusError", "base": False, "message": str(e)}
    except Exception as e:
        message["fault"] = f"{type(e).__name__}: {e}"
    with writing:
        print(json.dumps(message), flush=True)


for line in sys.stdin:
    parsed = json.loads(line)
    if parsed["op"] in ("hello", "client"):
        answer(parsed)
    else:
        threading.Thread(target=answer, args=(parsed,), daemon=True).start()
sys.stdout.flush()
os._exit(0)
