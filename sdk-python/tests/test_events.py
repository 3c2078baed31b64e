"""How a stream of events is read, piece by piece."""

from __future__ import annotations

import pytest

from lockserver_client._events import LINE_MAX, Reader
from lockserver_client._retry import Bounds

GRANTED = (
    b'id: 5\r\nevent: granted\r\ndata: {"event":5,"kind":"granted","time":"2026-11-28T09:00:00.5Z",'
    b'"resource":"\xc3\xa9","token":7}\r\n\r\n'
)


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_events_come_out_whole_however_they_are_cut(size: int) -> None:
    stream = (
        b":\nid: 4\n\n"
        + GRANTED
        + b"id: 6\n\nevent: gap\ndata: {\ndata: }\n\nevent: draining\ndata: {}\n\nid: 7\ndata: {"
    )
    reader = Reader(Bounds())
    events = [event for at in range(0, len(stream), size) for event in reader.read(stream[at : at + size])]
    assert [event.kind for event in events] == ["granted", "gap"]
    assert (events[0].number, events[0].resource, events[0].token, events[0].owner) == (5, "é", 7, None)
    assert events[0].time is not None
    assert events[0].time.isoformat() == "2026-11-28T09:00:00.500000+00:00"
    assert events[1].missed is None
    assert reader.last == "6"


@pytest.mark.parametrize("data", [b"data: {\n\n", b"data: []\n\n", b"data: 7\n\n", b'data: {"time": 7}\n\n'])
def test_what_is_no_event_is_told(data: bytes) -> None:
    with pytest.raises(ValueError, match="what is no event"):
        Reader(Bounds()).read(data)


def test_a_line_without_an_end_is_not_kept() -> None:
    with pytest.raises(ValueError, match="a line of more than 1048576 bytes"):
        Reader(Bounds()).read(b"data: " + b"x" * LINE_MAX)


def test_what_a_stream_left_is_not_taken_into_the_next() -> None:
    reader = Reader(Bounds())
    assert reader.read(b"id: 4\nevent: granted\ndata: {") == []
    reader.begin()
    assert [event.number for event in reader.read(GRANTED)] == [5]
