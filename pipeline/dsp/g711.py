"""G.711: s16le sound as one byte per sample, by µ-law (Americas, Japan) or A-law (elsewhere). ITU-T G.711 (11/88).

Both laws cut the magnitude into 8 segments of 16 steps, each segment's steps twice as wide as the one's before. The
tables here are the standard's tables 1 and 2, written as the formulas they follow and scaled to 16 bit: a sample takes
the step whose decision values enclose it. Where a sample lies on a decision value, the standard leaves the choice open;
here, as in ITU-T's own software (G.191), the greater of the two values is taken.
"""

from typing import Final

import numpy as np
from numpy.typing import NDArray

from pipeline.dsp.pcm16 import to_samples

_SEGMENT: Final = np.repeat(np.arange(8), 16)
_STEP: Final = np.tile(np.arange(16), 8)


class Law:
    """One of the two laws as lookup tables.

    Args:
        decisions: lower bound of the magnitudes that each of the 128 steps stands for, s16, ascending from 0.
        values: magnitude each step is decoded to, s16.
        positive: code of a step as it is sent for a positive sample, shape (128,); negative samples clear the top bit.
    """

    def __init__(self, decisions: NDArray[np.int_], values: NDArray[np.int_], positive: NDArray[np.int_]) -> None:
        every_sample = np.arange(-32_768, 32_768)
        magnitudes = np.where(every_sample < 0, ~every_sample, every_sample)
        steps = np.searchsorted(decisions, magnitudes, side="right") - 1
        codes = np.where(every_sample < 0, positive[steps] ^ 0x80, positive[steps]).astype(np.uint8)
        self._codes = np.roll(codes, -32_768)  # looked up by the sample's bits taken as unsigned
        self._values = np.empty(256, dtype="<i2")
        self._values[positive] = values
        self._values[positive ^ 0x80] = -values

    def encode(self, pcm: bytes) -> bytes:
        """One byte for every sample (s16le). Raises ValueError if `pcm` ends in half a sample."""
        coded: NDArray[np.uint8] = self._codes[to_samples(pcm).view("<u2")]
        return coded.tobytes()

    def decode(self, coded: bytes) -> bytes:
        """The samples (s16le) of these codes, two bytes each."""
        samples: NDArray[np.int16] = self._values[np.frombuffer(coded, dtype=np.uint8)]
        return samples.tobytes()


MU_LAW: Final = Law(
    decisions=4 * np.maximum(0, ((2 * _STEP + 32) << _SEGMENT) - 33),
    values=4 * (((2 * _STEP + 33) << _SEGMENT) - 33),
    positive=np.arange(128) ^ 0xFF,  # all bits inverted, so that silence is full of ones
)
"""14 bit in 8: +0 is 0xFF, and the one code that no sample is encoded to and back is -0 (0x7F), which decodes to 0."""

A_LAW: Final = Law(
    decisions=8 * np.where(_SEGMENT == 0, 2 * _STEP, (2 * _STEP + 32) << np.maximum(0, _SEGMENT - 1)),
    values=8 * np.where(_SEGMENT == 0, 2 * _STEP + 1, (2 * _STEP + 33) << np.maximum(0, _SEGMENT - 1)),
    positive=(np.arange(128) | 0x80) ^ 0x55,  # even bits inverted
)
"""13 bit in 8: the first two segments share one step width, and there is no zero: silence is the step of ±8."""
