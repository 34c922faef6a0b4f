"""What the daemon writes on a wire, read off the bytes: which kind of WebSocket frame, and which block of sound in it.

A client masks its frames (RFC 6455 §5.3), so the little that is looked at is unmasked first.
"""

import binascii
from typing import Final, NamedTuple

from pipeline.proving.simulated_devices import frame_number
from pipeline.realtime.codec import encode_append

OPCODES: Final = {0x0: "more", 0x1: "text", 0x2: "binary", 0x8: "close", 0x9: "ping", 0xA: "pong"}

_BEGINS: Final = encode_append(b"").encode().removesuffix(b'"}')
"""Of a message that carries sound, up to the sound."""
_MARK_CHARS: Final = 24
"""Of base64, which hold the mark at the beginning of a block."""
_LOOKED_AT: Final = len(_BEGINS) + _MARK_CHARS


class ClientFrame(NamedTuple):
    """One WebSocket frame of the daemon.

    Attributes:
        kind: by its opcode; empty if it is no frame.
        sound: number of the block of the microphone that it carries; None if it carries none.
    """

    kind: str
    sound: int | None


def read_frame(data: bytes) -> ClientFrame:
    """Read a frame as the library writes it: whole, in one piece, masked."""
    kind = OPCODES.get(data[0] & 0x0F, "")
    length = data[1] & 0x7F if len(data) > 1 else 0
    begin = 2 + {126: 2, 127: 8}.get(length, 0)
    mask = data[begin : begin + 4]
    masked = data[begin + 4 : begin + 4 + _LOOKED_AT]
    if kind != "text" or len(masked) < _LOOKED_AT:
        return ClientFrame(kind, None)
    key = int.from_bytes((mask * (_LOOKED_AT // 4 + 1))[:_LOOKED_AT])
    text = (int.from_bytes(masked) ^ key).to_bytes(_LOOKED_AT)
    if not text.startswith(_BEGINS):
        return ClientFrame(kind, None)
    found = frame_number(binascii.a2b_base64(text[len(_BEGINS) :]))
    return ClientFrame(kind, None if found is None else found[0])
