"""The far end: what the loudspeaker really played while the microphone heard a block, for the echo canceller.

Two cards have two crystals. Their clocks say which samples belong together; the loudspeaker's are resampled by as many
ppm as it takes to keep them together. An echo canceller minds a jump or a change of pitch more than a constant delay,
so no more than crystals can drift is corrected, and a server's second thoughts about its delay are not followed.
"""

from collections.abc import Callable
from typing import Final

from pipeline.core.device_clock import DeviceClock
from pipeline.dsp.pcm16 import to_samples
from pipeline.dsp.resample import DriftingResampler
from pipeline.edges.sound_card_stream import CardStream
from pipeline.vocabulary.frames import RATE_HZ

PULL: Final = 0.02
"""Of the misalignment that is worked off per second: 100 ppm of drift leave 5 ms."""
PULL_MAX: Final = 300e-6
"""300 ppm: what two bad crystals differ by."""
LOST_S: Final = 0.04
"""Misaligned by more, as after an xrun or a stall, it begins anew at the right place."""


class FarEnd:
    """What one loudspeaker plays, for one microphone. Silence while no loudspeaker is open."""

    def __init__(self) -> None:
        self._stream: CardStream | None = None
        self._clock = DeviceClock(RATE_HZ)
        self._settle: Callable[[], None] = lambda: None
        self._resampler: DriftingResampler | None = None
        self._next = 0.0  # number of the loudspeaker's sample at which the next one of ours lies
        self._ready = b""
        self._was_silent = True

    def attach(self, stream: CardStream, clock: DeviceClock, settle: Callable[[], None]) -> None:
        """A loudspeaker has opened; `settle` brings its clock up to date."""
        self._stream, self._clock, self._settle = stream, clock, settle
        self._resampler = None

    def detach(self) -> None:
        """It has closed."""
        self._stream = None

    def take(self, from_s: float, samples: int) -> bytes:
        """What left the loudspeaker from `from_s` on (host clock): s16le mono at RATE_HZ, `samples` long."""
        stream = self._stream
        if stream is None:
            return bytes(2 * samples)
        self._settle()
        if not self._clock.has_settled:
            return bytes(2 * samples)
        wanted = self._clock.sample(from_s)
        if abs(wanted - self._next) > LOST_S * stream.rate_hz:
            self._next = wanted
            self._resampler = None
        pull = PULL * (wanted - self._next) / stream.rate_hz
        pace = 1 + min(max(pull, -PULL_MAX), PULL_MAX)
        far = self._resample(stream, samples, ratio=RATE_HZ / (stream.rate_hz * pace))
        self._next += samples * stream.rate_hz * pace / RATE_HZ
        return far.ljust(2 * samples, b"\0")

    def _resample(self, stream: CardStream, samples: int, ratio: float) -> bytes:
        """The next samples; less where nothing was played. Silence after silence is not worth resampling."""
        if self._resampler is None:
            stream.played.skip(round(self._next) * stream.channels)
            ahead = stream.played.position // stream.channels - round(self._next)
            if not 0 <= ahead <= LOST_S * stream.rate_hz:
                return b""  # not yet played, or no longer kept
            self._resampler = DriftingResampler()
            self._ready = bytes(2 * round(ahead * ratio))  # silence that was taken already
        while (missing := samples - len(self._ready) // 2) > 0:
            piece = int(missing / ratio + 1) * stream.channels
            pcm = stream.played.read(piece) if stream.played.held >= piece else b""
            was_silent, self._was_silent = self._was_silent, pcm.count(0) == len(pcm)
            if was_silent and self._was_silent:
                self._resampler = None
                return self._ready
            one_of_them = to_samples(pcm)[:: stream.channels]  # all channels play the same
            self._ready += self._resampler.process(one_of_them.tobytes(), ratio)
        taken, self._ready = self._ready[: 2 * samples], self._ready[2 * samples :]
        return taken
