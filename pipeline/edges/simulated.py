"""Simulated twins of the edges, all on trio's clock: a scripted microphone and a loudspeaker in memory.

Nothing here is a mock: they keep the promises of `interfaces` (one conformance suite runs over both kinds), so the
simulation and the stress tests run the real actors on them.
"""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager
from typing import Final, NamedTuple

import numpy as np

from pipeline.dsp.level import last_speech_sample
from pipeline.edges.interfaces import InputBlock, OutputStream
from pipeline.edges.pacing import PacedOutput, Sound, hear
from pipeline.vocabulary.frames import RATE_HZ

MAX_HEARD_BLOCKS: Final = 180_000  # blocks: an hour of 20 ms, 173 MB


def tone(duration_s: float, *, pitch_hz: float = 200.0, syllables_hz: float = 4.0) -> Sound:
    """A tone in syllables at -9 dBFS: speech to a level meter, and sure to differ from block to block."""
    at_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    envelope = 0.5 - 0.5 * np.cos(2 * math.pi * syllables_hz * at_s)
    samples = (11_500 * envelope * np.sin(2 * math.pi * pitch_hz * at_s)).astype("<i2")
    pcm = samples.tobytes()
    return Sound(pcm, last_speech_sample(pcm))


def counter_signal(duration_s: float) -> Sound:
    """Every sample's value is its index (modulo 2^16): shows the exact place and size of whatever got lost."""
    return Sound(np.arange(round(duration_s * RATE_HZ)).astype("<i2").tobytes())


class SyntheticMicrophone:
    """Hears a script: the given sounds one after the other, for as long as there are any (a generator may never end).

    Every opening starts the script anew if `script` is a sequence and goes on with it if it is a generator. The end of
    each sound's speech is reported, also in a script without an end.
    """

    def __init__(self, script: Iterable[Sound], *, name: str = "synthetic:") -> None:
        self.name = name
        self._script = script

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[AsyncIterator[InputBlock], None]:
        """Yield the script's blocks, paced by the clock."""
        async with aclosing(hear(self._script, frame_ms)) as blocks:
            yield blocks


class HeardBlock(NamedTuple):
    """What left a simulated loudspeaker, and when (host clock)."""

    leaves_s: float
    pcm: bytes


class SimulatedLoudspeaker:
    """Keeps what was played, silence included, in `heard`: an hour at most, the oldest first."""

    name = "simulated:"

    def __init__(self) -> None:
        self.heard: list[HeardBlock] = []

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[OutputStream, None]:
        """Ask for blocks, paced by the clock."""

        def keep(leaves_s: float, pcm: bytes) -> None:
            if len(self.heard) < MAX_HEARD_BLOCKS:
                self.heard.append(HeardBlock(leaves_s, pcm))

        yield PacedOutput(frame_ms, keep)
