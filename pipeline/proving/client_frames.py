"""What the daemon writes on a wire, read off the bytes: which kind of WebSocket frame, and which blocks of sound in it.

A client masks its frames (RFC 6455 §5.3), so the little that is looked at is unmasked first.
"""

import binascii
from typing import Final, NamedTuple

from pipeline.proving.simulated_devices import frame_number
from pipeline.realtime.codec import encode_append
from pipeline.vocabulary.frames import BYTES_PER_MS

OPCODES: Final = {0x0: "more", 0x1: "text", 0x2: "binary", 0x8: "close", 0x9: "ping", 0xA: "pong"}

_BEGINS: Final = encode_append(b"").encode().removesuffix(b'"}')
"""Of a message that carries sound, up to the sound."""
_MARK_CHARS: Final = 24
"""Of base64, which hold the mark at the beginning of a block."""
_HEAD: Final = len(_BEGINS) + _MARK_CHARS
BLOCK_CHARS_PER_MS: Final = BYTES_PER_MS * 4 // 3
"""Base64 of a block of whole ms needs no padding, so blocks that share a message stay apart in it."""


class ClientFrame(NamedTuple):
    """One WebSocket frame of the daemon.

    Attributes:
        kind: by its opcode; empty if it is no frame.
        sound: numbers of the blocks of the microphone that it carries.
    """

    kind: str
    sound: tuple[int, ...] = ()


def read_frame(data: bytes, frame_ms: int) -> ClientFrame:
    """Read a frame as it is written: whole, in one piece, masked; its sound is made of blocks of `frame_ms`."""
    kind = OPCODES.get(data[0] & 0x0F, "")
    length = data[1] & 0x7F if len(data) > 1 else 0
    begin = 2 + {126: 2, 127: 8}.get(length, 0)
    mask, masked = data[begin : begin + 4], data[begin + 4 :]
    if kind != "text" or len(masked) < _HEAD or not _unmask(mask, masked, 0, _HEAD).startswith(_BEGINS):
        return ClientFrame(kind)
    found = [
        frame_number(binascii.a2b_base64(_unmask(mask, masked, at, _MARK_CHARS)))
        for at in range(len(_BEGINS), len(masked) - _MARK_CHARS, frame_ms * BLOCK_CHARS_PER_MS)
    ]
    return ClientFrame(kind, tuple(mark[0] for mark in found if mark is not None))


def _unmask(mask: bytes, masked: bytes, at: int, size: int) -> bytes:
    key = (mask * (size // 4 + 2))[at % 4 :][:size]
    return (int.from_bytes(masked[at : at + size]) ^ int.from_bytes(key)).to_bytes(size)
