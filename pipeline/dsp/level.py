"""How loud a block is, where speech ends and where sound begins: the measures every latency figure rests on."""

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.dsp.pcm16 import FULL_SCALE, to_samples
from pipeline.vocabulary.frames import RATE_HZ

SPEECH_RANGE_DB: Final = 40.0
"""Sound further than this below the loudest sample is no speech: room, hiss, the tail of a reverb."""
SPEECH_PEAK_DBFS: Final = -60.0
"""A recording that never rises above this holds nothing to answer: 33 steps of 16 bit, a bare converter's noise."""
AUDIBLE_DBFS: Final = -50.0
"""From here on a listener hears something."""


def rms_dbfs(pcm: bytes) -> float:
    """Root mean square in dBFS (a full-scale sine: -3); -inf for digital silence."""
    samples = to_samples(pcm).astype(np.float64)
    return _dbfs(math.sqrt(float(np.mean(samples**2)))) if samples.size else -math.inf


def last_speech_sample(pcm: bytes, rate_hz: int = RATE_HZ) -> int | None:
    """End of the last speech (design §9), as the number of samples up to there; None if there is none.

    The recording is cut into windows of 10 ms from its start (the last may be shorter). Speech ends with the last
    window whose RMS is above the peak - 40 dB; the peak is the loudest single sample. No detector's opinion enters,
    so everybody can repeat the measurement.

    Args:
        pcm: s16le mono.
        rate_hz: its rate, at least 100.
    """
    peak = _peak(pcm)
    if _dbfs(float(peak)) < SPEECH_PEAK_DBFS:
        return None
    samples = to_samples(pcm).astype(np.float64)
    starts = np.arange(0, samples.size, rate_hz // 100)
    ends = np.append(starts[1:], samples.size)
    mean_squares = np.add.reduceat(samples**2, starts) / (ends - starts)
    speech = mean_squares > (peak * 10 ** (-SPEECH_RANGE_DB / 20)) ** 2
    return int(ends[speech][-1])


def first_audible_sample(pcm: bytes) -> int | None:
    """Index of the first sample above -50 dBFS (design §9), None if there is none."""
    audible = np.flatnonzero(_magnitudes(pcm) > FULL_SCALE * 10 ** (AUDIBLE_DBFS / 20))
    return int(audible[0]) if audible.size else None


def _magnitudes(pcm: bytes) -> NDArray[np.int32]:
    return np.abs(to_samples(pcm).astype(np.int32))  # in 16 bit, abs(-32768) is -32768


def _peak(pcm: bytes) -> int:
    return int(_magnitudes(pcm).max(initial=0))


def _dbfs(magnitude: float) -> float:
    return 20 * math.log10(magnitude / FULL_SCALE) if magnitude else -math.inf
