"""The trace of a run: what happened, when, in order. Its hash tells whether two runs were the same."""

import hashlib
from collections import Counter, deque
from collections.abc import Callable
from typing import Final

import msgspec
import trio

from pipeline.proving.happenings import Happening

KEPT: Final = 20_000
"""Happenings kept for a drawing of what led to a failure: some minutes of talk."""

HASHED: Final = 1_000
"""So many happenings are hashed at once."""

_ENCODER: Final = msgspec.msgpack.Encoder()
"""Tells every two happenings apart, types and all, and needs a twentieth of the time of their `repr`."""

Listener = Callable[[Happening, float], None]


class Trace:
    """Takes every happening in, counts and hashes it, and hands it to whoever listens.

    Attributes:
        recent: the last KEPT happenings with their times (s since the run began).
        counts: how many there were of each kind.
    """

    def __init__(self, listener: Listener) -> None:
        self.recent: deque[tuple[float, Happening]] = deque(maxlen=KEPT)
        self.counts: Counter[str] = Counter()
        self._listener = listener
        self._digest = hashlib.blake2b(digest_size=8)
        self._unhashed: list[tuple[float, str, Happening]] = []

    def add(self, happening: Happening) -> None:
        """It happened now."""
        now = trio.current_time()
        self.recent.append((now, happening))
        kind = type(happening).__name__
        self.counts[kind] += 1
        self._unhashed.append((now, kind, happening))
        if len(self._unhashed) == HASHED:
            self._digest.update(_ENCODER.encode(self._unhashed))
            self._unhashed.clear()
        self._listener(happening, now)

    @property
    def hash(self) -> str:
        """16 hexadecimal digits over everything so far."""
        digest = self._digest.copy()
        digest.update(_ENCODER.encode(self._unhashed))
        return digest.hexdigest()
