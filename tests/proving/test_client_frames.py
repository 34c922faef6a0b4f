"""Frames of the daemon's, read off the wire as the daemon writes them."""

import pytest
from wsproto import ConnectionType
from wsproto.connection import Connection
from wsproto.events import CloseConnection, Event, Ping, Pong

from pipeline.edges.websocket_frame import text_frame
from pipeline.proving.client_frames import ClientFrame, read_frame
from pipeline.proving.microphone_frames import Run, frame_sound
from pipeline.realtime import events as ev
from pipeline.realtime.codec import encode, encode_append


@pytest.mark.parametrize("frame_ms", [10, 20, 100, 1_000])
@pytest.mark.parametrize(
    ("numbers", "runs"),
    [
        ([1], (Run(1, 1),)),
        ([40_000], (Run(40_000, 1),)),
        ([7, 8, 9], (Run(7, 3),)),
        ([7, 8, 10, 9, 10], (Run(7, 2), Run(10, 1), Run(9, 2))),
        ([7, 7], (Run(7, 1), Run(7, 1))),
    ],
)
def test_sound_says_which_frames_it_is_whatever_its_mask_and_length(
    frame_ms: int, numbers: list[int], runs: tuple[Run, ...]
) -> None:
    sound = b"".join([frame_sound(number, frame_ms, speech=True) for number in numbers])
    for _ in range(20):
        assert read_frame(text_frame(encode_append(sound)), frame_ms) == ClientFrame("text", runs)


@pytest.mark.parametrize("shift", [2, 16, 18, 400])
def test_sound_in_which_no_frame_begins_where_it_should_is_not_taken_for_silence(shift: int) -> None:
    sound = (frame_sound(7, 20, speech=True) + frame_sound(8, 20, speech=True))[shift : shift + 960]
    with pytest.raises(ValueError, match="no frame"):
        read_frame(text_frame(encode_append(sound)), 20)


@pytest.mark.parametrize("text", ["", "{}", encode(ev.ResponseCreate()), encode_append(bytes(960)), encode_append(b"")])
def test_other_messages_carry_no_sound(text: str) -> None:
    assert read_frame(text_frame(text), 20) == ClientFrame("text")


@pytest.mark.parametrize(
    ("event", "kind"), [(Ping(b"x"), "ping"), (Pong(b""), "pong"), (CloseConnection(1000, "bye"), "close")]
)
def test_control_frames_are_told_apart(event: Event, kind: str) -> None:
    assert read_frame(Connection(ConnectionType.CLIENT).send(event), 20) == ClientFrame(kind)


@pytest.mark.parametrize("data", [b"G", b"\x07", b"\x81", b"\x81\x80", b"\x8d\xff\x00"])
def test_what_is_no_whole_frame_is_no_sound(data: bytes) -> None:
    assert not read_frame(data, 20).sound
