"""Settings and errors, without a server."""

from __future__ import annotations

import ast
import base64
import copy
import graphlib
import json
import os
import pickle
import re
import socket
import ssl
from pathlib import Path
from typing import Any

import pytest

import lockserver_client
from lockserver_client import (
    AsyncLockserverClient,
    ConfigInvalidError,
    Holder,
    LockedError,
    LockserverClient,
    LockserverError,
    LockTimeoutError,
    _errors,
)
from lockserver_client._clock import Clock
from lockserver_client._contract import ACQUIRE, CODES
from lockserver_client._lease import SafeDeadline
from lockserver_client._operations import understand
from lockserver_client._outcome import Answer
from lockserver_client._settings import parse_addresses, parse_proxy

SECRET = "s3cret-that-must-not-show"
CONTRACT = Path(__file__).resolve().parents[2] / "conformance" / "contract.json"


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("locks.example.com", "http://locks.example.com:8080"),
        ("locks_1:99", "http://locks_1:99"),
        ("[::1]:9", "http://[::1]:9"),
        ("[::1]", "http://[::1]:8080"),
        ("http://h", "http://h:8080"),
        ("HTTP://h:1/", "http://h:1"),
        ("https://h", "https://h:8080"),
        ("https://h:443/a/b/", "https://h:443/a/b"),
        ("http://[fe80::1]:5/x", "http://[fe80::1]:5/x"),
        ("a_b.c-d.", "http://a_b.c-d.:8080"),
        ("a,b:1,https://[::1]/x/", "http://a:8080,http://b:1,https://[::1]:8080/x"),
        ("http://h/a%2Fb/%27'()/", "http://h:8080/a%2Fb/%27'()"),
    ],
)
def test_addresses(text: str, url: str) -> None:
    assert ",".join(map(str, parse_addresses(text))) == url
    assert LockserverClient(text, secret=SECRET).addr == url


@pytest.mark.parametrize(
    "text",
    [
        "a:1,b:x",
        "a,",
        ",a",
        "a, b",
        "http://user:x,pass@h",
        "ftp://h",
        "::1",
        "h:",
        "h:0",
        "h:65536",
        "h:x",
        "h:-1",
        "http://",
        ":8080",
        "h/path",
        "http://h?q=1",
        "http://h#f",
        "http://user:pass@h",
        "h h",
        "http://h/a b",
        "h\r\nX: y",
        "http://h/a\r\nX:y",
        "[::1",
        "unix:///tmp/s",
        *(
            "h ",
            " h",
            "http://h/a b",
            "hóst",
            "http://h/é",
            "http://h/%zz",
            "a..b",
            "[fe80::1%25eth0]:1",
            "[fe80::1%eth0]",
        ),
        *("[1.2.3.4]", "[::1]x", "256.1.1.1", "127.1", "1.2.3.0x4", "http://@h", "user:pass@h", "x" * 64, "h\n", "h:٣"),
    ],
)
def test_addresses_that_are_refused(text: str) -> None:
    with pytest.raises(ConfigInvalidError, match="addr: ") as caught:
        LockserverClient(text, secret=SECRET)
    assert "pass@" not in str(caught.value)
    assert caught.value.code == "config_invalid"


@pytest.mark.parametrize(
    ("addr", "why"),
    [
        ("a,b c,d", r"addr: 'b c' \(2 of 3\) is not an address"),
        (["a", ""], r"addr: '' \(2 of 2\) is not an address"),
        (("http://u:hunter2,x@h", "b"), r"addr: 'http://\*\*\*@h,b' \(1 of 3\) is not an address"),
        (["a", 7], "addr: a string is needed, not list"),
    ],
)
def test_the_error_about_several_addresses_says_which_is_wrong(addr: Any, why: str) -> None:
    with pytest.raises(ConfigInvalidError, match=why):
        LockserverClient(addr, secret=SECRET)


def test_several_addresses_are_a_sequence_too() -> None:
    assert LockserverClient(["a", "b:1"], secret=SECRET).addr == "http://a:8080,http://b:1"


def test_without_a_secret_there_is_no_client() -> None:
    with pytest.raises(ConfigInvalidError, match="LOCKSERVER_SECRET"):
        LockserverClient()
    with pytest.raises(ConfigInvalidError, match="LOCKSERVER_SECRET"):
        AsyncLockserverClient(secret="")


@pytest.mark.parametrize("secret", ["a\r\nX-Evil: 1", "ä", " x", "x ", "a\tb", "\x7f"])
def test_secrets_that_no_header_can_carry(secret: str) -> None:
    with pytest.raises(ConfigInvalidError, match="printable ASCII") as caught:
        LockserverClient(secret=secret)
    assert secret.strip() not in str(caught.value).split("(")[1]


@pytest.mark.parametrize("owner", ["a\nb", "o" * 257, "\ud800", "\x7f"])
def test_owners_that_are_refused(owner: str) -> None:
    with pytest.raises(ConfigInvalidError, match="owner: "):
        LockserverClient(owner=owner, secret=SECRET)


@pytest.mark.parametrize("setting", [{"addr": 8080}, {"owner": 1}, {"secret": b"bytes"}])
def test_settings_of_another_type_are_named(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigInvalidError, match=next(iter(setting))):
        LockserverClient(**{"secret": SECRET, **setting})


def test_argument_over_environment_over_dotenv(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text(
        "LOCKSERVER_ADDR=from-dotenv:1\n"
        "export LOCKSERVER_OWNER='dotenv ${HOME} $HOME'\n"
        "LOCKSERVER_SECRET=dotenv-secret\n"
    )
    client = LockserverClient()
    assert client.addr == "http://from-dotenv:1"
    assert client.owner == "dotenv ${HOME} $HOME", "nothing interpolates"
    monkeypatch.setenv("LOCKSERVER_ADDR", "from-env:2")
    monkeypatch.setenv("LOCKSERVER_OWNER", "")
    client = LockserverClient()
    assert client.addr == "http://from-env:2"
    assert client.owner.startswith("dotenv "), "empty counts as absent"
    assert LockserverClient("from-argument:3").addr == "http://from-argument:3"
    assert not [name for name in os.environ if name in ("LOCKSERVER_SECRET",)], "never put into the environment"
    assert client._settings.secret == "dotenv-secret"


def test_dotenv_can_be_turned_off() -> None:
    Path(".env").write_text("LOCKSERVER_SECRET=x\n")
    LockserverClient()
    with pytest.raises(ConfigInvalidError):
        LockserverClient(dotenv=False)


def test_only_the_working_directorys_dotenv_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("LOCKSERVER_SECRET=x\n")
    Path("below").mkdir()
    monkeypatch.chdir("below")
    with pytest.raises(ConfigInvalidError):
        LockserverClient()


def test_a_dotenv_that_cannot_be_read_is_said() -> None:
    Path(".env").mkdir()
    with pytest.raises(ConfigInvalidError, match=r"\.env cannot be read \(IsADirectoryError\)"):
        LockserverClient(secret=SECRET)
    LockserverClient(secret=SECRET, dotenv=False)
    LockserverClient("h", "o", SECRET, transport="http")  # nothing is asked of it


@pytest.mark.parametrize(
    "line", ["LOCKSERVER_SECRET", "LOCKSERVER_SECRET\x01'hunter2-hunter2", "A='hunter2", "B=hunter2\0"]
)
def test_a_line_of_dotenv_without_a_value_is_said_and_not_quoted(line: str) -> None:
    Path(".env").write_text(f"LOCKSERVER_OWNER=me\n\n{line}\n")
    with pytest.raises(ConfigInvalidError, match=r"\.env: line \d is not of the form NAME=value") as caught:
        LockserverClient(secret=SECRET)
    assert "hunter2" not in str(caught.value)


def test_a_mark_of_byte_order_is_no_part_of_dotenv() -> None:
    Path(".env").write_bytes(b"\xef\xbb\xbfLOCKSERVER_SECRET=behind-a-mark\r\n# comment\r\n")
    assert LockserverClient()._settings.secret == "behind-a-mark"


def test_only_the_settings_of_dotenv_need_be_utf_8() -> None:
    Path(".env").write_bytes(b"# caf\xe9\nOTHER=caf\xe9\nLOCKSERVER_SECRET=plain\n")
    assert LockserverClient()._settings.secret == "plain"
    Path(".env").write_bytes(b"LOCKSERVER_SECRET=\xff\xfe\n")
    with pytest.raises(ConfigInvalidError, match="printable ASCII"):
        LockserverClient()
    Path(".env").write_bytes(b"LOCKSERVER_OWNER=caf\xe9\n")
    with pytest.raises(ConfigInvalidError, match="owner: "):
        LockserverClient(secret=SECRET)


def test_the_default_owner_is_new_for_every_client() -> None:
    one, two = (LockserverClient(secret=SECRET).owner for _ in range(2))
    assert one != two
    assert one.startswith(f"{socket.gethostname()[:60]}-{os.getpid()}-")


def test_the_secret_does_not_show() -> None:
    for kind in (LockserverClient, AsyncLockserverClient):
        client = kind("h:1", "me", SECRET)
        for text in (repr(client), str(client), repr(vars(client)), repr(client._settings), repr(client.lock("r"))):
            assert SECRET not in text
        assert repr(client) == f"<{kind.__name__} http://h:1 owner='me'>"


def test_tls_is_made_by_default_or_taken_as_given() -> None:
    context = ssl.create_default_context()
    assert LockserverClient("https://h", secret=SECRET, ssl_context=context)._settings.tls is context
    made = LockserverClient("https://h", secret=SECRET)._settings.tls
    assert made is not None
    assert made.verify_mode == ssl.CERT_REQUIRED
    assert LockserverClient("http://h", secret=SECRET)._settings.tls is None


def test_no_tls_below_1_2_whatever_the_system_permits(monkeypatch: pytest.MonkeyPatch) -> None:
    lax = ssl.create_default_context()
    lax.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    monkeypatch.setattr(ssl, "create_default_context", lambda: lax)
    made = LockserverClient("https://h", secret=SECRET)._settings.tls
    assert made is not None
    assert made.minimum_version == ssl.TLSVersion.TLSv1_2


# Errors


def public_errors() -> dict[str, type[LockserverError]]:
    kinds = [getattr(lockserver_client, name) for name in lockserver_client.__all__ if name.endswith("Error")]
    return {kind.code: kind for kind in kinds if kind is not LockserverError}


def test_names_derive_from_the_one_table_of_codes() -> None:
    table = json.loads(CONTRACT.read_text())["codes"]
    kinds = public_errors()
    for entry in table:
        error = kinds[entry["code"]]
        assert error.__name__ == "".join(word.capitalize() for word in entry["code"].split("_")) + "Error"
        assert issubclass(error, LockserverError)
        assert (entry["code"] in CODES) == ("client" in entry)
        assert CODES.get(entry["code"], ("", error))[1] is error
    assert len(kinds) == len(table)


def test_the_tree_in_the_docs_is_complete() -> None:
    assert _errors.__doc__ is not None
    drawn = dict(re.findall(r"[├└]── (\w+) +(\w+)", _errors.__doc__))
    assert drawn == {kind.__name__: code for code, kind in public_errors().items()}


def refusal(code: str, **members: Any) -> LockserverError:
    answer = Answer(409, json.dumps({"code": code, "detail": "held", **members}).encode())
    error = understand(ACQUIRE, answer, SECRET).error
    assert error is not None
    return error


def test_a_wire_code_never_makes_a_local_error() -> None:
    error = refusal("lock_lost")
    assert type(error) is LockserverError
    assert error.code == "lock_lost"


def test_errors_survive_pickling() -> None:
    error = refusal("locked", holders=[{"owner": "o", "token": 5, "expires_in": 1.5, "held_for": 2}], waiters=2)
    assert isinstance(error, LockedError)
    assert error.holders == (Holder("o", 5, 1.5, 2.0),)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is LockedError
    assert again.holders == error.holders
    assert (again.code, again.status, again.waiters, str(again)) == ("locked", 409, 2, "held")
    late = pickle.loads(pickle.dumps(LockTimeoutError("late")))
    assert isinstance(late, TimeoutError)
    assert str(late) == "late"


def test_clients_scopes_and_locks_say_what_to_do_instead_of_pickling() -> None:
    client = LockserverClient(secret=SECRET)
    for thing, told in [(client, "make one where it is used"), (client.lock("r"), "where it is entered")]:
        for copies in (pickle.dumps, copy.copy, copy.deepcopy):
            with pytest.raises(TypeError, match=told):
                copies(thing)


# Web proxies


@pytest.mark.parametrize(
    ("url", "address", "credentials"),
    [
        ("http://p:3128", "http://p:3128", None),
        ("http://p", "http://p:80", None),
        ("https://p/", "https://p:443", None),
        ("http://us%40er:p%3Aw@[::1]:9", "http://[::1]:9", b"us@er:p:w"),
        ("http://user@p:1", "http://p:1", b"user:"),
    ],
)
def test_a_proxy_is_taken_apart(url: str, address: str, credentials: bytes | None) -> None:
    proxy = parse_proxy(url)
    assert str(proxy.address) == address
    wanted = None if credentials is None else "Basic " + base64.b64encode(credentials).decode()
    assert proxy.authorization == wanted


@pytest.mark.parametrize(
    "url",
    [
        "p:3128",
        "socks5://user:hidden@p:1",
        "http://",
        "http://user:hidden@p:0",
        "http://user:hidden@p:x",
        "http://user:hidden@p:1/path",
        "http://user:hidden@p:1?q",
        "http://user:hidden@a b:1",
        "http://hidden%ff@p",
        "http://user:hidden@[::1%25eth0]",
        "http://user:hidden@p/?",
    ],
)
@pytest.mark.parametrize("kind", [LockserverClient, AsyncLockserverClient])
def test_a_proxy_that_is_none_is_refused(kind: type[Any], url: str) -> None:
    with pytest.raises(ConfigInvalidError, match="proxy: ") as caught:
        kind(secret=SECRET, proxy=url)
    assert "hidden" not in f"{caught.value} {caught.value!r}"


def test_a_proxy_of_another_type_and_its_password_do_not_show() -> None:
    with pytest.raises(ConfigInvalidError, match="proxy: a string is needed, not int"):
        LockserverClient(secret=SECRET, proxy=3128)  # type: ignore[arg-type]
    assert LockserverClient(secret=SECRET, proxy="")._settings.proxy is None
    client = LockserverClient(secret=SECRET, proxy="http://user:hidden@p:1")
    assert "hidden" not in f"{client!r} {client._settings!r} {client._settings.proxy!r}"


# The safe deadline


def test_a_renewal_after_a_suspension_counts_though_its_end_is_earlier_on_one_clock() -> None:
    clock = Clock()
    deadline = SafeDeadline(clock)
    deadline.confirm(clock.now(), 0, 100)
    clock.wall_ahead = 90  # the machine was suspended, which stops the monotonic clock
    assert 8 < deadline.left() < 10
    deadline.confirm(clock.now(), 0, 30)
    assert 29 < deadline.left() < 30
    deadline.confirm(clock.now(), 0, 5)
    assert 29 < deadline.left() < 30, "an earlier one shortens nothing"


def test_a_renewal_after_the_time_was_set_back_ends_by_the_time_as_it_is_then() -> None:
    clock = Clock()
    deadline = SafeDeadline(clock)
    deadline.confirm(clock.now(), 0, 100)
    clock.wall_ahead = -1000
    deadline.confirm(clock.now(), 0, 200)
    clock.wall_ahead = -1000 + 198
    assert deadline.left() < 0


# How the modules depend on each other


def imports() -> dict[str, set[str]]:
    """Which modules each imports from, those for type checking included."""
    root = Path(lockserver_client.__file__).parent
    found: dict[str, set[str]] = {}
    for path in root.rglob("*.py"):
        place = path.relative_to(root).with_suffix("").parts
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level:
                base = place[: len(place) - node.level]
                named = [node.module] if node.module else [alias.name for alias in node.names]
                found.setdefault(".".join(place), set()).update(".".join([*base, *name.split(".")]) for name in named)
    return found


def test_no_import_goes_in_a_circle() -> None:
    list(graphlib.TopologicalSorter(imports()).static_order())


@pytest.mark.parametrize("flavour", ["_async", "_sync"])
def test_nothing_above_the_transport_knows_http(flavour: str) -> None:
    graph = imports()

    def knows(module: str) -> set[str]:
        return {name for name, others in graph.items() if f"{flavour}.{module}" in others and flavour in name}

    assert knows("_session") == {f"{flavour}._client"}
    assert knows("_servers") == knows("_wire") == {f"{flavour}._session"}
    assert knows("_http") == {f"{flavour}._servers"}
    assert knows("_tls") == {f"{flavour}._http", f"{flavour}._wire"}
    users = ("_client", "_http", "_keeper", "_lock", "_retry", "_servers", "_session", "_watch")
    assert knows("_transport") == {f"{flavour}.{name}" for name in users}


def test_everything_public_says_so() -> None:
    for name in lockserver_client.__all__:
        thing = getattr(lockserver_client, name)
        if isinstance(thing, type) and not name.startswith("Async"):
            assert thing.__module__ == "lockserver_client"
            assert thing.__doc__
    with pytest.raises(AttributeError):
        _ = lockserver_client.no_such_thing
