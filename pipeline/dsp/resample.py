"""Sample rates and channels: whatever a device or a file has, to and from what talkwire carries.

libsamplerate gives the samples of a block at once (1 to 3 ms stay in the filter, where soxr keeps 20 to 60 ms), and its
output does not depend on how the input was cut into blocks.
"""

from typing import Final

import numpy as np
import samplerate

from pipeline.dsp.pcm16 import to_pcm, to_samples

CONVERTER: Final = "sinc_fastest"
"""SNR above 100 dB, beyond 16 bit, at 30 to 80 µs per 20 ms block; the better sincs only cost more."""
RATIO_MAX: Final = 256
"""libsamplerate's own limit, up and down."""
FILTER_SAMPLES: Final = 32
"""Above half the filter's length, in samples of the lower rate: so many zeros push the last sample out of it."""


class StreamResampler:
    """Resamples one mono stream block by block; blocks may have any length. Equal rates pass bytes through untouched.

    Raises:
        ValueError: a rate is not above zero, or they are more than 256 times apart.
    """

    def __init__(self, from_hz: int, to_hz: int) -> None:
        if min(from_hz, to_hz) <= 0 or max(from_hz, to_hz) > RATIO_MAX * min(from_hz, to_hz):
            raise ValueError(
                f"from_hz and to_hz must be above zero and within a factor of {RATIO_MAX}, not {from_hz} and {to_hz}"
            )
        self.from_hz = from_hz
        self.to_hz = to_hz
        self._converter = None if from_hz == to_hz else samplerate.Resampler(CONVERTER, channels=1)
        self._taken = 0
        self._given = 0
        self._holds_silence = True

    def process(self, pcm: bytes) -> bytes:
        """Resample the next block (s16le mono).

        The filter keeps its length back once, so the first block comes out up to 60 samples short; `flush` gives them.

        Raises:
            ValueError: an odd number of bytes.
        """
        samples = to_samples(pcm)
        if self._converter is None or not samples.size:
            return pcm
        self._taken += samples.size
        self._holds_silence = False
        resampled = self._converter.process(samples.astype(np.float32), self.to_hz / self.from_hz)
        self._given += resampled.size
        return to_pcm(resampled)

    def process_silence(self, samples: int) -> bytes:
        """As `process` of so many zeros, and no work where the filter holds nothing else.

        Args:
            samples: longer than the filter, 6 ms at most.
        """
        resampled, rest = divmod(samples * self.to_hz, self.from_hz)
        if self._converter is None:
            return bytes(2 * samples)
        if self._holds_silence and self._given and not rest:
            self._taken += samples
            self._given += resampled
            return bytes(2 * resampled)
        silence = self.process(bytes(2 * samples))
        self._holds_silence = True
        return silence

    @property
    def pending(self) -> float:
        """Samples the filter keeps back, counted at `to_hz`."""
        return self._taken * self.to_hz / self.from_hz - self._given

    def flush(self) -> bytes:
        """The rest of the stream; all of it together is then `round(samples · to_hz / from_hz)` long. Starts anew."""
        if self._converter is None:
            return b""
        missing = (2 * self._taken * self.to_hz + self.from_hz) // (2 * self.from_hz) - self._given
        filter_samples = FILTER_SAMPLES * max(self.from_hz, self.to_hz) // self.to_hz
        zeros = np.zeros(missing * self.from_hz // self.to_hz + filter_samples, dtype=np.float32)
        rest = self._converter.process(zeros, self.to_hz / self.from_hz)[:missing]
        assert rest.size == missing, "libsamplerate kept more than it took"
        self._converter.reset()
        self._taken = self._given = 0
        self._holds_silence = True
        return to_pcm(rest)


class DriftingResampler:
    """Resamples one mono stream at a ratio that may change from block to block: for two clocks that drift apart."""

    def __init__(self) -> None:
        self._converter = samplerate.Resampler(CONVERTER, channels=1)

    def process(self, pcm: bytes, ratio: float) -> bytes:
        """Resample the next block (s16le mono) to `ratio` times its length; the filter keeps its own length back once.

        Raises:
            ValueError: an odd number of bytes.
        """
        return to_pcm(self._converter.process(to_samples(pcm).astype(np.float32), ratio))


def resample(pcm: bytes, from_hz: int, to_hz: int) -> bytes:
    """Resample a whole mono recording; raises ValueError as StreamResampler does."""
    resampler = StreamResampler(from_hz, to_hz)
    return resampler.process(pcm) + resampler.flush()


def spread(pcm: bytes, channels: int) -> bytes:
    """One mono stream on every one of `channels` interleaved channels."""
    return pcm if channels == 1 else to_samples(pcm).repeat(channels).tobytes()


def to_mono(pcm: bytes, channels: int) -> bytes:
    """Mean of interleaved s16le channels; mono passes untouched.

    Raises:
        ValueError: no channels, or not a whole number of samples of every channel.
    """
    if channels < 1:
        raise ValueError(f"channels must be at least 1, not {channels}")
    samples = to_samples(pcm)
    if samples.size % channels:
        raise ValueError(f"pcm must hold whole frames of {channels} channels, not {samples.size} samples")
    if channels == 1:
        return pcm
    lanes = samples.reshape(-1, channels).T.astype(np.float32)  # summed along the samples: ten times faster than across
    return to_pcm(lanes.sum(axis=0) / channels)
