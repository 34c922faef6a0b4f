"""Frames of the simulated microphone: blocks whose marks number them, read wherever they come by."""

import binascii
from functools import lru_cache
from typing import Final, NamedTuple

from pipeline.proving.marks import HEAD_BYTES, NUMBERS_MAX, marked, read_head
from pipeline.vocabulary.frames import BYTES_PER_MS

_CHARS_PER_MS: Final = BYTES_PER_MS * 4 // 3
"""Base64 of a frame of whole ms needs no padding, so frames that share a message stay apart in it."""
_HEAD_CHARS: Final = 24
"""Of base64, which hold the mark at the beginning of a frame."""


class Frame(NamedTuple):
    """Which frame it is, and whether somebody speaks in it."""

    number: int
    speech: bool


class Run(NamedTuple):
    """So many frames, one after the other, from the first on."""

    first: int
    frames: int


def frame_sound(number: int, frame_ms: int, *, speech: bool) -> bytes:
    """The sound of a frame, s16le mono."""
    return marked(number // NUMBERS_MAX, number % NUMBERS_MAX, frame_ms, speech=speech)


def read_sound(pcm: bytes) -> Frame | None:
    """Which frame this is; None if it is silence.

    Raises:
        ValueError: it is sound of which no frame begins here.
    """
    found = _read(pcm[:HEAD_BYTES])
    if found is None and any(pcm):
        raise ValueError("no frame begins here")
    return found


def read_message(audio: str, frame_ms: int) -> list[Run]:
    """Which frames are in the base64 of a message.

    Raises:
        ValueError: there is sound in it of which no frame begins where one should.
    """
    runs: list[Run] = []
    size = frame_ms * _CHARS_PER_MS
    for start in range(0, len(audio), size):
        found = _read_text(audio[start : start + _HEAD_CHARS])
        if found is None:
            read_sound(binascii.a2b_base64(audio[start : start + size]))  # it has to be silence
        elif runs and found.number == sum(runs[-1]):
            runs[-1] = Run(runs[-1].first, runs[-1].frames + 1)
        else:
            runs.append(Run(found.number, 1))
    return runs


@lru_cache(maxsize=1_024)  # each frame is read at both ends of the wire
def _read_text(head: str) -> Frame | None:
    return _read(binascii.a2b_base64(head)[:HEAD_BYTES])


@lru_cache(maxsize=1_024)  # and by both detectors
def _read(head: bytes) -> Frame | None:
    mark = read_head(head)
    return None if mark is None else Frame(mark.group * NUMBERS_MAX + mark.number, mark.speech)
