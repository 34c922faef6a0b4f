"""What the daemon writes on a wire, read off the bytes: which kind of WebSocket frame, and which frames of sound in it.

A client masks its frames (RFC 6455 §5.3), so they are unmasked first.
"""

from typing import Final, NamedTuple

import numpy as np

from pipeline.proving.microphone_frames import Run, read_message
from pipeline.realtime.codec import encode_append

OPCODES: Final = {0x0: "more", 0x1: "text", 0x2: "binary", 0x8: "close", 0x9: "ping", 0xA: "pong"}

_BEGINS, _ENDS = encode_append(b"").encode().split(b'""')
"""Of a message that carries sound, what stands around it: all but its quotes."""


class ClientFrame(NamedTuple):
    """One WebSocket frame of the daemon.

    Attributes:
        kind: by its opcode; empty if it is no frame.
        sound: the frames of the microphone that it carries.
    """

    kind: str
    sound: tuple[Run, ...] = ()


def read_frame(data: bytes, frame_ms: int) -> ClientFrame:
    """Read a frame as it is written: whole, in one piece, masked; its sound is made of frames of `frame_ms`."""
    kind = OPCODES.get(data[0] & 0x0F, "")
    if kind != "text" or len(data) < 2:
        return ClientFrame(kind)
    begin = 2 + {126: 2, 127: 8}.get(data[1] & 0x7F, 0)
    text = _unmask(data[begin : begin + 4], data[begin + 4 :])
    if not text.startswith(_BEGINS):
        return ClientFrame(kind)
    sound = text[len(_BEGINS) + 1 : -len(_ENDS) - 1].decode("ascii")
    return ClientFrame(kind, tuple(read_message(sound, frame_ms)))


def _unmask(mask: bytes, masked: bytes) -> bytes:
    size = len(masked)
    key = np.frombuffer(mask * (size // 4 + 1), np.uint8, size)
    return np.bitwise_xor(np.frombuffer(masked, np.uint8), key).tobytes()
