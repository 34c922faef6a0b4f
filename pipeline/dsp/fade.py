"""Gain without clicks: every change of loudness follows half a period of a raised cosine."""

import math

import numpy as np

from pipeline.dsp.pcm16 import to_pcm, to_samples
from pipeline.vocabulary.frames import BYTES_PER_MS


def ramp(pcm: bytes, from_gain: float, to_gain: float) -> bytes:
    """`pcm` with its gain moving from one value to the other over its whole length: how the volume changes.

    Above 1.0 it clips; from 1.0 to 1.0 it is the very same object.

    The curve is flat at both ends, so what stands before and after joins without a corner.

    Raises:
        ValueError: a gain is negative or not finite.
    """
    if not (0 <= from_gain < math.inf and 0 <= to_gain < math.inf):
        raise ValueError(f"gain must be zero or more and finite, not {from_gain} to {to_gain}")
    if from_gain == to_gain == 1.0 or not pcm:
        return pcm
    samples = to_samples(pcm).astype(np.float32)
    if from_gain == to_gain:
        return to_pcm(samples * np.float32(to_gain))
    way = (1 - np.cos(np.pi * (np.arange(samples.size) + 1) / (samples.size + 1))) / 2  # never quite 0 or 1 inside
    return to_pcm(samples * (from_gain + (to_gain - from_gain) * way))


def fade_out(pcm: bytes, fade_ms: float) -> bytes:
    """`pcm` whose last `fade_ms` (all of it, if shorter) fall to silence; s16le mono at RATE_HZ.

    Raises:
        ValueError: `fade_ms` is negative or not finite.
    """
    if not 0 <= fade_ms < math.inf:
        raise ValueError(f"fade_ms must be zero or more, not {fade_ms}")
    split = max(0, len(pcm) - round(fade_ms * BYTES_PER_MS / 2) * 2)
    return pcm[:split] + ramp(pcm[split:], 1.0, 0.0)
