"""The certificate that a client shows to a server that asks for one."""

from __future__ import annotations

import os
import ssl
import threading

from ._errors import ConfigInvalidError


class CertificateFiles:
    """A certificate and its private key, in files that are read again when they change."""

    __slots__ = ("_changed", "_context", "_files", "_mutex")

    def __init__(self, context: ssl.SSLContext, cert: str | None, key: str | None) -> None:
        names = f"client_cert {cert!r} and client_key {key!r} (LOCKSERVER_CLIENT_CERT, LOCKSERVER_CLIENT_KEY)"
        if cert is None or key is None:
            raise ConfigInvalidError(f"{names}: one is missing; both or none are allowed")
        self._context = context
        self._files = cert, key
        self._mutex = threading.Lock()
        self._changed = self._times()
        try:
            self._load()
        except OSError as error:
            raise ConfigInvalidError(
                f"{names} cannot be used: {error}; files of a certificate and its private key, in PEM, are allowed"
            ) from None

    def refresh(self) -> None:
        """Put what the files hold into the context: what they held before, as long as they cannot be used."""
        now = self._times()
        if now != self._changed:
            with self._mutex:
                try:
                    self._load()
                except OSError:
                    return  # of two that are being replaced, one may still be the old one
                self._changed = now

    def _times(self) -> list[int]:
        return [os.stat(file).st_mtime_ns if os.path.exists(file) else 0 for file in self._files]

    def _load(self) -> None:
        # No password: else OpenSSL asks for one on the terminal. A context that a load fails in has lost what it had.
        for context in (ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), self._context):
            context.load_cert_chain(*self._files, password="")
