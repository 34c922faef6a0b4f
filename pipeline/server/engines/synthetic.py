"""Engines without models, for load tests and for machines without the extra `local`. All of them are deterministic.

They show that everything around them works, at next to no cost: a level meter for voice activity, a recogniser that
says how long an utterance was, a brain that says it again, a voice that hums as long as speaking would take.
"""

import math
import re
from collections.abc import AsyncGenerator, Callable, Iterator
from typing import Final

import numpy as np

from pipeline.dsp.level import rms_dbfs
from pipeline.dsp.pcm16 import to_pcm
from pipeline.dsp.voice_activity import VoiceActivity
from pipeline.server.engines.interfaces import (
    Arguments,
    Ask,
    Brain,
    Call,
    Piece,
    Recogniser,
    Setup,
    Voice,
    Words,
)
from pipeline.server.engines.tool_calls import best_effort, forced_tool
from pipeline.vocabulary.frames import BYTES_PER_MS, RATE_HZ

HOP_MS: Final = 32  # as the detector that it stands in for
SPEECH_DBFS: Final = -40.0
MS_PER_CHARACTER: Final = 65  # as the voice that it stands in for
HUM_HZ: Final = 120
HUM_AMPLITUDE: Final = 4_000  # -18 dBFS, as loud as speech


def voice_activity(_setup: Setup) -> Callable[[], VoiceActivity]:
    """Entry point: the level meter."""
    return LevelMeter


def recogniser(_setup: Setup) -> Callable[[], Recogniser]:
    """Entry point: the recogniser that says how long an utterance was."""
    return Stopwatch


def brain(_setup: Setup) -> Callable[[], Brain]:
    """Entry point: the brain that repeats the question."""
    return Echo


def voice(_setup: Setup) -> Callable[[], Voice]:
    """Entry point: the voice that hums."""
    return Hum


class LevelMeter:
    """`VoiceActivity`: whatever is louder than -40 dBFS is speech."""

    hop_ms: float = HOP_MS

    def __init__(self) -> None:
        self._rest = b""

    def process(self, pcm: bytes) -> list[float]:
        """Take s16le mono at `RATE_HZ`; 1 or 0 per hop completed."""
        hop_bytes = HOP_MS * BYTES_PER_MS
        sound = self._rest + pcm
        whole = len(sound) - len(sound) % hop_bytes
        self._rest = sound[whole:]
        hops = (sound[start : start + hop_bytes] for start in range(0, whole, hop_bytes))
        return [float(rms_dbfs(hop) > SPEECH_DBFS) for hop in hops]


class Stopwatch:
    """`Recogniser`: "I spoke for 1.2 seconds."; nothing if the whole is not louder than -40 dBFS."""

    def transcribe(self, pcm: bytes) -> str:
        """How long s16le mono at `RATE_HZ` is."""
        return f"I spoke for {len(pcm) / BYTES_PER_MS / 1000:.1f} seconds." if rms_dbfs(pcm) > SPEECH_DBFS else ""


class Echo:
    """`Brain`: says what it was asked, word by word; calls a function only if it must."""

    async def answer(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        """The last thing the user said, in two sentences."""
        if tool := forced_tool(ask):
            yield Call(tool.name or "")
            yield Arguments(best_effort(tool, ask.question))
            return
        for word in re.findall(r"\S+\s*", f"You said something. It was: {ask.question or 'nothing'}"):
            yield Words(word)


class Hum:
    """`Voice`: a low tone, sentence by sentence, as long as speaking it would take."""

    def speak(self, text: str, *, speed: float = 1.0) -> Iterator[bytes]:
        """Yield s16le mono at `RATE_HZ`, one sentence at a time."""
        for sentence in re.findall(r"[^.!?]*\w[^.!?]*[.!?]*", text):
            yield _hum(round(len(sentence.strip()) * MS_PER_CHARACTER / speed))


def _hum(duration_ms: int) -> bytes:
    """Whole periods of one tone, repeated: that costs a copy instead of a sine per sample."""
    period = np.sin(np.arange(RATE_HZ // HUM_HZ) * 2 * math.pi * HUM_HZ / RATE_HZ) * HUM_AMPLITUDE
    times = max(1, duration_ms * HUM_HZ // 1_000)
    return to_pcm(period) * times
