"""WebSocket frames (RFC 6455) as far as a session needs them: the client's side, text alone, no extensions.

An own codec, because the package has one small dependency and sync users are not to pay for more: a session needs none
of what a library adds, and messages of many requests leave its speed no part in the whole.
"""

from __future__ import annotations

import base64
import hashlib
import os
import struct

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10
_FINAL = _MASKED = 0x80
_RESERVED = 0x70
_CONTROL = 8
_LARGEST_CONTROL = 125


def new_key() -> str:
    """What a client sends with its request for a WebSocket."""
    return base64.b64encode(os.urandom(16)).decode()


def accepted(key: str) -> str:
    """What a server answers to a key (RFC 6455, 4.2.2)."""
    digest = hashlib.sha1(f"{key}258EAFA5-E914-47DA-95CA-C5AB0DC85B11".encode(), usedforsecurity=False).digest()
    return base64.b64encode(digest).decode()


def frame(opcode: int, payload: bytes) -> bytes:
    """One final, masked frame."""
    size = len(payload)
    if size <= _LARGEST_CONTROL:
        head = bytes((_FINAL | opcode, _MASKED | size))
    elif size < 1 << 16:
        head = struct.pack(">BBH", _FINAL | opcode, _MASKED | 126, size)
    else:
        head = struct.pack(">BBQ", _FINAL | opcode, _MASKED | 127, size)
    mask = os.urandom(4)
    # As two large integers the payload and its mask meet in C.
    whole = (mask * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload, "little") ^ int.from_bytes(whole, "little")
    return b"%b%b%b" % (head, mask, masked.to_bytes(size, "little"))


class Frames:
    """Puts messages together from bytes as they come."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._buffer = bytearray()
        self._message: bytearray | None = None
        """What has come of a message in fragments."""

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The messages and control frames that are complete now; ValueError, in a few words, if it is no WebSocket."""
        buffer = self._buffer
        buffer += data
        found: list[tuple[int, bytes]] = []
        begin = 0
        while (bounds := self._complete(begin)) is not None:
            start, end = bounds
            first = buffer[begin]
            opcode, payload = first & 0x0F, bytes(buffer[start:end])
            begin = end
            if opcode >= _CONTROL:
                found.append((opcode, payload))
            elif first & _FINAL and self._message is None:
                found.append((TEXT, payload))
            else:
                self._message = (self._message or bytearray()) + payload
                if first & _FINAL:
                    found.append((TEXT, bytes(self._message)))
                    self._message = None
        del buffer[:begin]
        return found

    def _complete(self, begin: int) -> tuple[int, int] | None:
        """Where the payload of the next frame starts and ends, if all of it is here."""
        buffer, there = self._buffer, len(self._buffer) - begin
        if there < 2:
            return None
        first, size = buffer[begin], buffer[begin + 1]
        self._check(first, size)
        head = 2
        if size >= 126:
            head = 4 if size == 126 else 10
            if there < head:
                return None
            size = int.from_bytes(buffer[begin + 2 : begin + head], "big")
        if size + len(self._message or b"") > self._largest:
            raise ValueError("a message that is too large")
        return (begin + head, begin + head + size) if there >= head + size else None

    def _check(self, first: int, size: int) -> None:
        opcode = first & 0x0F
        if first & _RESERVED:
            raise ValueError("a frame with bits that nothing was agreed on")
        if size & _MASKED:
            raise ValueError("a masked frame")
        if opcode >= _CONTROL:
            if opcode > PONG or not first & _FINAL or size > _LARGEST_CONTROL:
                raise ValueError("a control frame that is none")
        elif opcode not in (0, TEXT):
            raise ValueError("a message that is no text")
        elif (opcode == 0) != (self._message is not None):
            raise ValueError("fragments of a message out of order")
