"""Where the server is, who asks and with which secret: argument over environment over `.env`."""

from __future__ import annotations

import base64
import io
import ipaddress
import os
import re
import secrets
import socket
import ssl
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote

from dotenv.parser import parse_stream

from ._certificate import CertificateFiles
from ._errors import ConfigInvalidError

DEFAULT_ADDR = "127.0.0.1:8080"
DEFAULT_PORT = 8080
_OPTIONAL = ("LOCKSERVER_TRANSPORT", "LOCKSERVER_CLIENT_CERT", "LOCKSERVER_CLIENT_KEY")
TRANSPORTS = ("auto", "session", "http")
_ALLOWED = (
    "host:port, [v6]:port, or an http:// or https:// URL with an optional path prefix; "
    "several of them have commas, and no spaces, between them"
)
# What addresses are made of. It is less than a URL may have, so that all languages' SDKs take the same ones.
_HOST = r"(?P<host>[\w-]{1,63}(?:\.[\w-]{1,63})*\.?|\[[\dA-F:.]+\])(?::(?P<port>\d{1,5}))?"
_ADDRESS = re.compile(
    rf"(?:(?P<scheme>https?)://)?{_HOST}(?P<path>/(?:[\w.~!$&'()*+;=:@/-]|%[\dA-F]{{2}})*)?", re.ASCII | re.IGNORECASE
)
_PROXY = re.compile(
    rf"(?P<scheme>https?)://(?:(?P<credentials>(?:[\w.~!$&'()*+,;=:-]|%[\dA-F]{{2}})*)@)?{_HOST}/?",
    re.ASCII | re.IGNORECASE,
)
# A host that ends like this is an IPv4 address or nothing.
_NUMBER = re.compile(r"(?:.*\.)?(?:\d+|0x[\da-f]*)\.?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Address:
    """One server's address, taken apart."""

    tls: bool
    host: str
    port: int
    prefix: str

    @property
    def authority(self) -> str:
        """Host and port as they stand in a `Host` header."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def __str__(self) -> str:
        return f"{'https' if self.tls else 'http'}://{self.authority}{self.prefix}"


@dataclass(frozen=True, slots=True)
class Proxy:
    """A web proxy that every connection goes through."""

    address: Address
    authorization: str | None = field(repr=False)
    """The value of its `Proxy-Authorization` header."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a client was told, complete and checked."""

    addresses: tuple[Address, ...]
    owner: str | None
    secret: str = field(repr=False)
    tls: ssl.SSLContext | None = field(repr=False, default=None)
    proxy: Proxy | None = None
    transport: str = "auto"
    """One of `TRANSPORTS`."""
    certificate: CertificateFiles | None = field(repr=False, default=None)
    """What keeps that of `tls` up to date."""

    @property
    def addr(self) -> str:
        """The addresses, with commas between them."""
        return ",".join(map(str, self.addresses))

    @classmethod
    def resolve(
        cls,
        addr: str | Sequence[str] | None,
        owner: str | None,
        secret: str | None,
        *,
        dotenv: bool,
        ssl_context: ssl.SSLContext | None,
        proxy: str | None,
        transport: str | None,
        client_cert: str | os.PathLike[str] | None,
        client_key: str | os.PathLike[str] | None,
    ) -> Settings:
        given = {
            "LOCKSERVER_ADDR": _joined(addr),
            "LOCKSERVER_OWNER": owner,
            "LOCKSERVER_SECRET": secret,
            **dict(zip(_OPTIONAL, (transport, _path(client_cert), _path(client_key)), strict=True)),
        }
        for name, value in given.items():
            if value is not None and not isinstance(value, str):
                raise _no_string(name[len("LOCKSERVER_") :].lower(), value)
        found = {name: value or os.environ.get(name) or None for name, value in given.items()}
        # Few set those: a file that nothing else is missing from is not read for their sake.
        if dotenv and not all(value for name, value in found.items() if name not in _OPTIONAL):
            file = _read_dotenv()
            found = {name: value or file.get(name) or None for name, value in found.items()}
        addresses = parse_addresses(found["LOCKSERVER_ADDR"] or DEFAULT_ADDR)
        way = None if proxy is None or proxy == "" else parse_proxy(proxy)
        needs_tls = any(one.tls for one in addresses) or (way is not None and way.address.tls)
        certificate = None
        of_client = found if ssl_context is None else given  # whoever brings a context has put into it what is to be
        cert, key = (of_client[name] or None for name in _OPTIONAL[1:])
        tls = (ssl_context or _default_tls()) if needs_tls or cert or key else None
        if tls is not None and (cert or key):
            certificate = CertificateFiles(tls, cert, key)
        owner, secret = _check_owner(found["LOCKSERVER_OWNER"]), _check_secret(found["LOCKSERVER_SECRET"])
        chosen = _check_transport(found["LOCKSERVER_TRANSPORT"] or TRANSPORTS[0])
        return cls(addresses, owner, secret, tls, way, chosen, certificate)

    def new_owner(self) -> str:
        """The owner that was set, or a fresh one: host name, process id and random bits."""
        if self.owner is not None:
            return self.owner
        host = "".join(char for char in socket.gethostname() if char.isprintable())[:60]
        return f"{host}-{os.getpid()}-{secrets.token_hex(6)}"


def _read_dotenv() -> dict[str, str]:
    """What `.env` in the working directory holds. No error quotes it, as it may hold the secret."""
    path = Path(".env")
    try:
        # What is not UTF-8 may stand in a comment; in a setting, its own check refuses it.
        text = path.read_text("utf-8", "surrogateescape").removeprefix("\ufeff")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigInvalidError(
            f"{path.absolute()} cannot be read ({type(error).__name__}); dotenv=False leaves it out"
        ) from None
    values = {}
    for line in parse_stream(io.StringIO(text)):
        if line.error or "\0" in line.original.string or (line.key is not None and line.value is None):
            raise ConfigInvalidError(
                f"{path.absolute()}: line {line.original.line} is not of the form NAME=value; "
                "dotenv=False leaves the file out"
            )
        if line.key is not None and line.value is not None:
            values[line.key] = line.value
    return values


def _path(file: str | os.PathLike[str] | None) -> str | None:
    return os.fspath(file) if isinstance(file, os.PathLike) else file


def _joined(addr: str | Sequence[str] | None) -> str | None:
    if addr is None or isinstance(addr, str):
        return addr
    if isinstance(addr, Sequence) and all(isinstance(one, str) for one in addr):
        return ",".join(addr)
    raise _no_string("addr", addr)


def parse_addresses(text: str) -> tuple[Address, ...]:
    """Take a list with commas apart, or raise `config_invalid` saying which is wrong and what is allowed."""
    entries = text.split(",")
    addresses = []
    for at, entry in enumerate(entries, 1):
        address = _parse_address(entry)
        if isinstance(address, str):
            # A URL may have a password in it, perhaps with commas, which must not get into a message.
            shown = re.sub(r"^(.*?//)?.*@", r"\1***@", text, flags=re.DOTALL) if "@" in text else entry
            which = f" ({at} of {len(entries)})" if len(entries) > 1 else ""
            raise ConfigInvalidError(f"addr: {shown!r}{which} {address}; allowed is {_ALLOWED}")
        addresses.append(address)
    return tuple(addresses)


def _parse_address(text: str) -> Address | str:
    """One address, or what is wrong with it."""
    parts = _ADDRESS.fullmatch(text)
    if parts is None:
        return "is not an address"
    if parts["path"] and not parts["scheme"]:
        return "has a path but no http:// before it"
    address = _address(parts, DEFAULT_PORT, (parts["path"] or "").rstrip("/"))
    return "has a host or port that cannot be" if address is None else address


def parse_proxy(text: str) -> Proxy:
    """Take a web proxy's URL apart, or raise `config_invalid`; no error shows its password."""
    if not isinstance(text, str):
        raise _no_string("proxy", text)
    parts = _PROXY.fullmatch(text)
    address = parts and _address(parts, 443 if parts["scheme"].lower() == "https" else 80, "")
    try:
        if parts and address:
            return Proxy(address, _authorization(parts["credentials"]))
    except UnicodeDecodeError:
        pass
    raise ConfigInvalidError(
        "proxy: what was given is not allowed; "
        "an http:// or https:// URL of a host is, with or without user:password@ and port"
    )


def _authorization(credentials: str | None) -> str | None:
    if credentials is None:
        return None
    user, _, password = credentials.partition(":")
    text = f"{unquote(user, errors='strict')}:{unquote(password, errors='strict')}"
    return "Basic " + base64.b64encode(text.encode()).decode()


def _address(parts: re.Match[str], default_port: int, prefix: str) -> Address | None:
    """What a pattern found, or None if there can be no such host or port."""
    port, host = int(parts["port"] or default_port), parts["host"].strip("[]")
    try:
        if parts["host"].startswith("["):
            ipaddress.IPv6Address(host)
        elif _NUMBER.fullmatch(host):
            ipaddress.IPv4Address(host)
    except ValueError:
        return None
    tls = (parts["scheme"] or "").lower() == "https"
    return Address(tls, host, port, prefix) if 1 <= port <= 65535 else None


def _no_string(name: str, value: object) -> ConfigInvalidError:
    return ConfigInvalidError(f"{name}: a string is needed, not {type(value).__name__}")


def _check_owner(owner: str | None) -> str | None:
    if owner is None:
        return None
    size = len(owner.encode("utf-8", "surrogatepass"))
    if size > 256 or any(ord(char) < 32 or 127 <= ord(char) < 160 or 0xD800 <= ord(char) < 0xE000 for char in owner):
        raise ConfigInvalidError(f"owner: {owner[:80]!r} is not allowed; 1 to 256 bytes without control characters are")
    return owner


def _check_transport(transport: str) -> str:
    if transport not in TRANSPORTS:
        raise ConfigInvalidError(f"transport: {transport[:80]!r} is not allowed; {', '.join(TRANSPORTS)} are")
    return transport


def _check_secret(secret: str | None) -> str:
    if secret is None:
        raise ConfigInvalidError(
            "secret: none is set; give secret=, the environment variable LOCKSERVER_SECRET, or a line with it in .env"
        )
    if not (secret.isascii() and secret.isprintable()) or secret != secret.strip():
        raise ConfigInvalidError(
            "secret: only printable ASCII is allowed, without spaces at its ends (value not shown)"
        )
    return secret


def _default_tls() -> ssl.SSLContext:
    """The system's certificates, and TLS 1.2 at least: some distributions let Python take older ones."""
    context = ssl.create_default_context()
    context.minimum_version = max(context.minimum_version, ssl.TLSVersion.TLSv1_2)
    return context
