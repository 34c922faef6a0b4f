"""A scripted microphone and sounds for it, all on trio's clock."""

import math
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing, asynccontextmanager

import numpy as np

from pipeline.dsp.level import last_speech_sample
from pipeline.edges.interfaces import InputBlock
from pipeline.edges.pacing import Sound, hear
from pipeline.vocabulary.frames import RATE_HZ


def tone(duration_s: float) -> Sound:
    """A tone in syllables, peak -9 dBFS: speech to a level meter, and no two blocks of it are alike."""
    at_s = np.arange(round(duration_s * RATE_HZ)) / RATE_HZ
    syllables = 0.5 - 0.5 * np.cos(2 * math.pi * 3.71 * at_s)  # Hz; neither number divides the block rate
    samples = (11_500 * syllables * np.sin(2 * math.pi * 193.7 * at_s)).astype("<i2")
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
