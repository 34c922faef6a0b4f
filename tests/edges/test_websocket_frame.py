"""The client's own text frame against wsproto's: the same bytes under the same mask, and readable for its server."""

import os

import pytest
from wsproto.frame_protocol import FrameProtocol

from pipeline.edges.websocket_frame import text_frame

TEXTS = [*("x" * size for size in (0, 1, 2, 3, 4, 5, 125, 126, 127, 1_327, 65_535, 65_536, 70_001)), "Grüße, 世界 🎙"]


@pytest.mark.parametrize("text", TEXTS, ids=len)
@pytest.mark.parametrize("key", [bytes(4), b"\x01\x80\xff\x37"], ids=bytes.hex)
def test_the_bytes_are_those_of_wsproto(monkeypatch: pytest.MonkeyPatch, text: str, key: bytes) -> None:
    monkeypatch.setattr(os, "urandom", lambda _size: key)
    assert text_frame(text) == FrameProtocol(client=True, extensions=[]).send_data(text)


def test_a_server_reads_them_and_each_has_a_mask_of_its_own() -> None:
    frames = [text_frame(text) for text in TEXTS for _ in range(2)]
    masks = {frame[{126: 4, 127: 10}.get(frame[1] & 0x7F, 2) :][:4] for frame in frames}
    assert len(masks) == len(frames)
    server = FrameProtocol(client=False, extensions=[])
    server.receive_bytes(b"".join(frames))
    read = [(str(frame.payload), frame.message_finished) for frame in server.received_frames()]
    assert read == [(text, True) for text in TEXTS for _ in range(2)]
