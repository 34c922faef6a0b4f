"""From the sound of the wire to the sound of the engines and back: G.711's laws and the change of rate. Pure."""

from typing import Final

from pipeline.dsp.g711 import A_LAW, MU_LAW, Law
from pipeline.dsp.resample import StreamResampler
from pipeline.realtime.events import AudioFormat
from pipeline.server.audio_format import PCMA, PCMU, rate_hz
from pipeline.vocabulary.frames import RATE_HZ

SLICE_BYTES: Final = 16_000
"""Resampled in one go: libsamplerate keeps the interpreter to itself, here for at most 3 ms, however long the sound."""
_LAWS: Final[dict[str, Law]] = {PCMU.type: MU_LAW, PCMA.type: A_LAW}


class Decoder:
    """One stream of the wire's sound, whole samples, to s16le mono at RATE_HZ; PCM passes untouched."""

    def __init__(self, audio_format: AudioFormat) -> None:
        self._law = _LAWS.get(audio_format.type)
        self._resampler = StreamResampler(rate_hz(audio_format), RATE_HZ)

    def decode(self, sound: bytes) -> bytes:
        """The next sound; of G.711 up to 3 ms stay in the filter."""
        return _resampled(self._resampler, sound if self._law is None else self._law.decode(sound))

    def flush(self) -> bytes:
        """What is left in the filter."""
        return self._resampler.flush()


class Encoder:
    """One stream of s16le mono at RATE_HZ to the wire's sound; PCM passes untouched."""

    def __init__(self, audio_format: AudioFormat) -> None:
        self._law = _LAWS.get(audio_format.type)
        self._resampler = StreamResampler(RATE_HZ, rate_hz(audio_format))

    def encode(self, pcm: bytes) -> bytes:
        """The next sound; of G.711 up to 3 ms stay in the filter."""
        return self._coded(_resampled(self._resampler, pcm))

    def flush(self) -> bytes:
        """What is left in the filter."""
        return self._coded(self._resampler.flush())

    def _coded(self, pcm: bytes) -> bytes:
        return pcm if self._law is None else self._law.encode(pcm)


def decoded(sound: bytes, audio_format: AudioFormat) -> bytes:
    """A whole utterance as s16le mono at RATE_HZ."""
    decoder = Decoder(audio_format)
    return decoder.decode(sound) + decoder.flush()


def _resampled(resampler: StreamResampler, pcm: bytes) -> bytes:
    return b"".join(resampler.process(pcm[start : start + SLICE_BYTES]) for start in range(0, len(pcm), SLICE_BYTES))
