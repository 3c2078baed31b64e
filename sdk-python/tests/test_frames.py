"""The frames of a WebSocket."""

from __future__ import annotations

import pytest
from support.sessions import frame_of_server

from lockserver_client._frames import CLOSE, PING, TEXT, Frames, accepted, frame


def test_the_key_of_the_rfc() -> None:
    assert accepted("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize("size", [0, 1, 3, 4, 125, 126, 127, 65535, 65536, 300_001])
def test_a_frame_is_masked(size: int) -> None:
    payload = bytes(at * 7 % 256 for at in range(size))
    made = frame(TEXT, payload)
    head = 2 if size < 126 else 4 if size < 65536 else 10
    told = made[1] & 0x7F if head == 2 else int.from_bytes(made[2:head], "big")
    assert made[0] == 0x81
    assert made[1] & 0x80
    assert told == size
    mask, masked = made[head : head + 4], made[head + 4 :]
    assert bytes(byte ^ mask[at % 4] for at, byte in enumerate(masked)) == payload


@pytest.mark.parametrize("step", [1, 2, 3, 7, 1000])
def test_frames_cut_in_odd_places(step: int) -> None:
    long = b"x" * 70_000
    whole = (
        frame_of_server(b"one")
        + frame_of_server(b"tw", final=False)
        + frame_of_server(b"ping", PING)
        + frame_of_server(b"", 0, final=False)
        + frame_of_server(b"o", 0)
        + frame_of_server(long)
        + frame_of_server(b"y" * 200)
        + frame_of_server(b"\x03\xe9", CLOSE)
    )
    frames = Frames(1 << 20)
    found = [one for at in range(0, len(whole), step) for one in frames.feed(whole[at : at + step])]
    expected = [(TEXT, b"one"), (PING, b"ping"), (TEXT, b"two"), (TEXT, long), (TEXT, b"y" * 200), (CLOSE, b"\x03\xe9")]
    assert found == expected


@pytest.mark.parametrize(
    ("data", "wrong"),
    [
        (frame_of_server(b"x", 2), "no text"),
        (frame_of_server(b"x", 3), "no text"),
        (frame_of_server(b"x", 11), "control frame"),
        (frame_of_server(b"x" * 126, PING), "control frame"),
        (frame_of_server(b"x", PING, final=False), "control frame"),
        (frame_of_server(b"x", 0), "out of order"),
        (frame_of_server(b"x", final=False) + frame_of_server(b"y"), "out of order"),
        (b"\x81\x81aaaax", "masked"),
        (b"\xc1\x01x", "bits"),
        (b"\x81\x7f" + (1 << 40).to_bytes(8, "big"), "too large"),
        (frame_of_server(b"x" * 600, final=False) + frame_of_server(b"x" * 600, 0), "too large"),
    ],
)
def test_what_is_no_frame_of_a_session(data: bytes, wrong: str) -> None:
    with pytest.raises(ValueError, match=wrong):
        Frames(1000).feed(data)
