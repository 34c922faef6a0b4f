"""s16le bytes ↔ numpy samples: the one place that knows the byte order, the full scale and how to clip."""

from typing import Final

import numpy as np
from numpy.typing import NDArray

FULL_SCALE: Final = 32_768
"""0 dBFS, for peak and RMS alike: a full-scale sine has an RMS of -3 dBFS."""


def to_samples(pcm: bytes) -> NDArray[np.int16]:
    """Samples of s16le bytes as a read-only view, shape (samples,) or channels interleaved as they came.

    Raises:
        ValueError: an odd number of bytes.
    """
    if len(pcm) % 2:
        raise ValueError(f"pcm must hold whole 16-bit samples, not {len(pcm)} bytes")
    return np.frombuffer(pcm, dtype="<i2")


def to_pcm(samples: NDArray[np.floating]) -> bytes:
    """s16le bytes of samples in units of one step (not ±1.0): rounded to even, clipped instead of wrapped round."""
    steps: NDArray[np.int16] = np.clip(np.rint(samples), -FULL_SCALE, FULL_SCALE - 1).astype("<i2")
    return steps.tobytes()
