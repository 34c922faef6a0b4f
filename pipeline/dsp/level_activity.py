"""Voice activity by level alone: the light detector that is always there."""

from collections import deque
from typing import Final

import numpy as np

from pipeline.dsp.pcm16 import FULL_SCALE, to_samples
from pipeline.vocabulary.frames import BYTES_PER_MS

HOP_MS: Final = 20
"""Of the detector by level: a syllable is several of them."""
FLOOR_HOPS: Final = 75
"""The quietest of the last 1.5 s is the room: speech has gaps more often than that, a fan has none."""
RISE: Final = 10.0
"""Speech has ten times the power of the room (10 dB); steady noise varies by half of that from hop to hop."""
QUIETEST: Final = 10**-5.5
"""Below -55 dBFS nothing is speech, however silent the room: a person at arm's length is 20 dB above it."""
PIECES: Final = 4
"""A hop is as loud as the quietest of its four pieces of 5 ms: a key stroke does not last through them."""
WINDOW_HOPS: Final = 8
"""160 ms: the probability is the loud share of it. A knock is one or two hops long, a word more than five."""


class LevelVoiceActivity:
    """`VoiceActivity` by level alone: sound well above the room for longer than a knock.

    It costs next to nothing and takes music, and everything else that swells and ebbs, for speech.
    """

    hop_ms: float = HOP_MS

    def __init__(self) -> None:
        self._powers: deque[float] = deque(maxlen=FLOOR_HOPS)
        self._loud: deque[bool] = deque(maxlen=WINDOW_HOPS)
        self._rest = b""

    def process(self, pcm: bytes) -> list[float]:
        """Take s16le mono at RATE_HZ; the share of loud hops in the last 160 ms, per hop completed."""
        size = HOP_MS * BYTES_PER_MS
        sound = self._rest + pcm
        whole = len(sound) - len(sound) % size
        self._rest = sound[whole:]
        return [self._weigh(sound[start : start + size]) for start in range(0, whole, size)]

    def _weigh(self, hop: bytes) -> float:
        pieces = (to_samples(hop).astype(np.float64).reshape(PIECES, -1) ** 2).mean(axis=1) / FULL_SCALE**2
        self._powers.append(float(pieces.mean()))
        self._loud.append(float(pieces.min()) > max(min(self._powers) * RISE, QUIETEST))
        return sum(self._loud) / WINDOW_HOPS
