"""The one frame the client writes itself: a text message, whole and masked (RFC 6455 §5.2, §5.3).

wsproto builds the same bytes in twice the time, and one message is sent every 20 ms. numpy would mask faster in a loop,
but not in a process that sleeps between two messages: what it runs through is never in the cache then.
"""

import os
import struct
from typing import Final

_FINAL_TEXT: Final = 0x81
_MASKED: Final = 0x80
_SHORT: Final = struct.Struct("!BB")
_MEDIUM: Final = struct.Struct("!BBH")
_LONG: Final = struct.Struct("!BBQ")


def text_frame(text: str) -> bytes:
    """A message as a client sends it; the mask is a new unpredictable one, as §10.3 asks."""
    payload = text.encode()
    size = len(payload)
    if size < 126:
        head = _SHORT.pack(_FINAL_TEXT, _MASKED | size)
    elif size < 1 << 16:
        head = _MEDIUM.pack(_FINAL_TEXT, _MASKED | 126, size)
    else:
        head = _LONG.pack(_FINAL_TEXT, _MASKED | 127, size)
    key = os.urandom(4)
    mask = (key * (size // 4 + 1))[:size]
    masked = int.from_bytes(payload) ^ int.from_bytes(mask)
    return head + key + masked.to_bytes(size)
