"""The input audio buffer: sound that was written and not yet committed. Pure."""

import math
from typing import Final

from pipeline.realtime.events import AudioFormat
from pipeline.server.audio_format import bytes_per_ms, sample_bytes

MAX_BUFFER_MS: Final = 300_000
"""5 min, 14 MB of PCM: one append of the largest allowed size (15 MiB of base64 is 245 s of PCM) still fits."""


class InputAudioBuffer:
    """Uncommitted sound as the wire brought it, and the clock that counts every sample written in the session.

    Args:
        audio_format: of the sound, from its first byte to its last.
        begins_ms: what the session's clock shows before the first byte.
    """

    def __init__(self, audio_format: AudioFormat, begins_ms: float = 0.0) -> None:
        self.audio_format = audio_format
        self.bytes_per_ms: Final = bytes_per_ms(audio_format)
        self._sample_bytes: Final = sample_bytes(audio_format)
        self._begins_ms = begins_ms
        self._sound = bytearray()
        self._start = 0  # how many bytes were written before the first one kept
        self._odd = b""  # half a sample: chunks need not end on a sample boundary

    @property
    def written_ms(self) -> float:
        """All sound written since the session began."""
        return self._begins_ms + (self._start + len(self._sound)) / self.bytes_per_ms

    @property
    def duration_ms(self) -> float:
        """What is waiting to be committed."""
        return len(self._sound) / self.bytes_per_ms

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes stay within MAX_BUFFER_MS."""
        return len(self._sound) + size <= MAX_BUFFER_MS * self.bytes_per_ms

    def write(self, sound: bytes) -> bytes:
        """Append sound; returns the whole samples this completed."""
        assert self.has_room(len(sound)), "the caller refuses what does not fit"
        if self._odd or len(sound) % self._sample_bytes:
            sound = self._odd + sound
            whole = len(sound) - len(sound) % self._sample_bytes
            self._odd, sound = sound[whole:], sound[:whole]
        self._sound += sound
        return sound

    def forget_before(self, moment_ms: float) -> None:
        """Drop what lies before this moment: sound in which nobody spoke."""
        self._drop(self._offset(moment_ms))

    def take(self, start_ms: float, end_ms: float) -> bytes:
        """Commit: remove and return the sound from `start_ms` to `end_ms`; what lies before is dropped."""
        self.forget_before(start_ms)
        size = max(0, self._offset(end_ms))
        taken = bytes(self._sound[:size])
        self._drop(size)
        return taken

    def peek(self, start_ms: float, end_ms: float) -> bytes:
        """The sound from `start_ms` to `end_ms`, which stays."""
        return bytes(self._sound[max(0, self._offset(start_ms)) : max(0, self._offset(end_ms))])

    def take_all(self) -> bytes:
        """Commit everything."""
        return self.take(0, math.inf)

    def clear(self) -> None:
        """Drop everything; the clock stands still."""
        self._drop(len(self._sound))
        self._odd = b""

    def _offset(self, moment_ms: float) -> int:
        if math.isinf(moment_ms):
            return len(self._sound)
        samples = round((moment_ms - self._begins_ms) * self.bytes_per_ms / self._sample_bytes)
        return min(samples * self._sample_bytes - self._start, len(self._sound))

    def _drop(self, size: int) -> None:
        if size > 0:
            del self._sound[:size]
            self._start += size
