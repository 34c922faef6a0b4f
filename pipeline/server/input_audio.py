"""The input audio buffer: sound that was written and not yet committed. Pure."""

import math
from typing import Final

from pipeline.vocabulary.frames import BYTES_PER_MS

MAX_BUFFER_MS: Final = 300_000
"""5 min, 14 MB: one append of the largest allowed size (15 MiB of base64 is 245 s) still fits."""
SAMPLE_BYTES: Final = 2


class InputAudioBuffer:
    """Uncommitted s16le mono sound at RATE_HZ, and the clock that counts every sample written in the session."""

    def __init__(self) -> None:
        self._pcm = bytearray()
        self._start = 0  # byte offset, on the session's clock, of the first byte kept
        self._odd = b""  # half a sample: chunks need not end on a sample boundary

    @property
    def written_ms(self) -> float:
        """All sound written since the session began."""
        return (self._start + len(self._pcm)) / BYTES_PER_MS

    @property
    def duration_ms(self) -> float:
        """What is waiting to be committed."""
        return len(self._pcm) / BYTES_PER_MS

    def has_room(self, size: int) -> bool:
        """Whether `size` more bytes stay within MAX_BUFFER_MS."""
        return len(self._pcm) + size <= MAX_BUFFER_MS * BYTES_PER_MS

    def write(self, pcm: bytes) -> bytes:
        """Append sound; returns the whole samples this completed."""
        assert self.has_room(len(pcm)), "the caller refuses what does not fit"
        if self._odd or len(pcm) % SAMPLE_BYTES:
            pcm = self._odd + pcm
            whole = len(pcm) - len(pcm) % SAMPLE_BYTES
            self._odd, pcm = pcm[whole:], pcm[:whole]
        self._pcm += pcm
        return pcm

    def forget_before(self, moment_ms: float) -> None:
        """Drop what lies before this moment: sound in which nobody spoke."""
        self._drop(self._offset(moment_ms))

    def take(self, start_ms: float, end_ms: float) -> bytes:
        """Commit: remove and return the sound from `start_ms` to `end_ms`; what lies before is dropped."""
        self.forget_before(start_ms)
        size = max(0, self._offset(end_ms))
        taken = bytes(self._pcm[:size])
        self._drop(size)
        return taken

    def take_all(self) -> bytes:
        """Commit everything."""
        return self.take(0, math.inf)

    def clear(self) -> None:
        """Drop everything; the clock stands still."""
        self._drop(len(self._pcm))
        self._odd = b""

    def _offset(self, moment_ms: float) -> int:
        if math.isinf(moment_ms):
            return len(self._pcm)
        samples = round(moment_ms * BYTES_PER_MS / SAMPLE_BYTES)
        return min(samples * SAMPLE_BYTES - self._start, len(self._pcm))

    def _drop(self, size: int) -> None:
        if size > 0:
            del self._pcm[:size]
            self._start += size
