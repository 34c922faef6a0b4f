"""A recording that a client sends, heard utterance by utterance."""

import io
from collections.abc import AsyncGenerator
from typing import Final, NamedTuple

from pipeline.dsp.wav import UnreadableWavError, decoded, find_sound
from pipeline.server.audio_format import PCM
from pipeline.server.engine_pool import EnginePool
from pipeline.server.rest.refusal import RequestRefusedError
from pipeline.server.utterances import PREFIX_PADDING_MS, Span, Utterances
from pipeline.vocabulary.frames import BYTES_PER_MS

SLICE_BYTES: Final = 1_000 * BYTES_PER_MS
"""Detected in one go, in a thread: 16 ms of work, so a client that hangs up is noticed soon."""


class Segment(NamedTuple):
    """What was said in one utterance, and when, in seconds from the beginning."""

    start_s: float
    end_s: float
    text: str


def sound_of(recording: bytes) -> bytes:
    """A WAV file's sound as s16le mono at RATE_HZ; a second of work for the longest, so call it in a thread.

    Raises:
        RequestRefusedError: it is none that can be read.
    """
    file = io.BytesIO(recording)
    try:
        return b"".join(decoded(file, *find_sound(file, len(recording))))
    except UnreadableWavError as unreadable:
        message = f"The file cannot be used: {unreadable}. This server reads WAV with plain PCM only."
        raise RequestRefusedError(400, "unsupported_format", message, "file") from None


async def heard(pcm: bytes, engines: EnginePool) -> AsyncGenerator[Segment, None]:
    """The utterances that hold words, each as soon as it is recognised. TalkwireError if an engine cannot."""
    activity = await engines.voice_activity()
    utterances = Utterances()
    for start in range(0, len(pcm), SLICE_BYTES):
        probabilities = await engines.detect(activity, pcm[start : start + SLICE_BYTES])
        for span in utterances.hear(probabilities, activity.hop_ms):
            if segment := await _recognised(pcm, span, engines):
                yield segment
    if (span_at_end := utterances.rest()) and (segment := await _recognised(pcm, span_at_end, engines)):
        yield segment


async def _recognised(pcm: bytes, span: Span, engines: EnginePool) -> Segment | None:
    # As much silence behind the words as before them: the end of the last is quieter than the detector hears.
    first, last = (round(ms) * BYTES_PER_MS for ms in (span.start_ms, span.end_ms + PREFIX_PADDING_MS))
    text = await engines.transcribe(pcm[first:last], PCM)
    return Segment(span.start_ms / 1000, span.end_ms / 1000, text) if text else None
