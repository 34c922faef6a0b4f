"""`wav:` devices: a recording as microphone, a recorder as loudspeaker, both in real time by trio's clock.

Read: what `dsp/wav.py` reads. Written: 16 bit, mono.
"""

import os
import stat
import wave
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO, Final

import trio

from pipeline.dsp.level import last_speech_sample
from pipeline.dsp.wav import UnreadableWavError, WavFormat, decoded, find_sound
from pipeline.edges.interfaces import InputBlock, OutputStream
from pipeline.edges.pacing import PacedOutput, Sound, hear, silence
from pipeline.vocabulary.configuration import printable
from pipeline.vocabulary.errors import AudioFileError
from pipeline.vocabulary.frames import RATE_HZ

TAIL_S: Final = (
    2.0  # s of silence after a file: a service's detector hears the end of a turn only in continuing silence
)
MAX_RECORDING_S: Final = 3_600  # s: 173 MB of disk; a longer call goes on, its recording does not


class WavMicrophone:
    """Plays a recording once, then `tail_s` of silence, then ends.

    Args:
        path: the file; it is read whole when the device is opened.
        tail_s: silence after it; take more than the service's `silence_duration_ms`, or its detector never fires.
    """

    def __init__(self, path: Path, *, tail_s: float = TAIL_S) -> None:
        assert tail_s > 0, "a turn ends in silence"
        self.name = f"wav:{path}"
        self._path = path
        self._tail_s = tail_s

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[AsyncIterator[InputBlock], None]:
        """Yield the recording's blocks, paced by the clock. Raises AudioFileError."""
        pcm = read_wav(self._path)
        recording = Sound(pcm, last_speech_sample(pcm))
        async with aclosing(hear([recording, silence(self._tail_s)], frame_ms)) as blocks:
            yield blocks


class WavLoudspeaker:
    """Records what is played, silence included, so that the file's time line is the call's.

    The header is brought up to date with every block: a recording is a valid WAV at any moment, also after a SIGKILL.
    A file that exists is replaced. After `max_s` playing goes on unrecorded.
    """

    def __init__(self, path: Path, *, max_s: float = MAX_RECORDING_S) -> None:
        self.name = f"wav:{path}"
        self._path = path
        self._max_samples = round(max_s * RATE_HZ)

    @asynccontextmanager
    async def open(self, frame_ms: int) -> AsyncGenerator[OutputStream, None]:
        """Ask for blocks, paced by the clock. Opening and writing raise AudioFileError: a full disk does not heal."""
        recording = _Recording(self._path, self._max_samples)
        try:
            recording.add(trio.current_time(), b"")  # a header, so that even an empty recording is a WAV
            yield PacedOutput(frame_ms, recording.add)
        finally:
            recording.close()


class _Recording:
    """A WAV file that grows; raises AudioFileError."""

    def __init__(self, path: Path, max_samples: int) -> None:
        self._path = path
        self._room = max_samples
        with _translated("write", path):
            if path.exists():
                _demand_regular(path)
            self._file = path.open("wb")
        self._wave = wave.Wave_write(self._file)
        self._wave.setparams((1, 2, RATE_HZ, 0, "NONE", "not compressed"))

    def add(self, _leaves_s: float, pcm: bytes) -> None:
        if self._room > 0:
            self._room -= len(pcm) // 2
            with _translated("write", self._path):
                self._wave.writeframes(pcm)  # corrects the sizes in the header, too
                self._file.flush()

    def close(self) -> None:
        with _translated("write", self._path), self._file, self._wave:
            pass


def demand_readable(path: Path) -> None:
    """Look at the header, so that a recording nobody can use is told before anything is asked of a service.

    Raises:
        AudioFileError: as `read_wav`.
    """
    with _sound_of(path):
        pass


def read_wav(path: Path) -> bytes:
    """A recording as s16le mono at RATE_HZ; a 16-bit mono file of that rate comes through bit by bit.

    Raises:
        AudioFileError: missing, not readable, a folder, empty, not a WAV, cut off, compressed, too long, or its header
            makes no sense.
    """
    with _sound_of(path) as (file, form, length):
        return b"".join(decoded(file, form, length))


@contextmanager
def _sound_of(path: Path) -> Iterator[tuple[BinaryIO, WavFormat, int]]:
    """The file, placed at its sound, its format and how many bytes of sound there are."""
    with _translated("read", path):
        _demand_regular(path)
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise _unusable("read", path, "it is empty")
            try:
                form, length = find_sound(file, size)
                yield file, form, length
            except UnreadableWavError as error:
                raise _unusable("read", path, str(error)) from None


def _demand_regular(path: Path) -> None:
    """Refuse what is there but is no file: opening a pipe would wait for ever."""
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode):
        raise _unusable("use", path, "it is a folder" if stat.S_ISDIR(mode) else "it is not a file")


@contextmanager
def _translated(verb: str, path: Path) -> Iterator[None]:
    """Turn what the operating system complains about into one line."""
    try:
        yield
    except FileNotFoundError:
        missing = "there is no such file" if verb == "read" else "its folder does not exist"
        raise _unusable(verb, path, missing) from None
    except PermissionError:
        raise _unusable(verb, path, "permission denied") from None
    except OSError as error:
        raise _unusable(verb, path, error.strerror or "the file system failed") from None


def _unusable(verb: str, path: Path, reason: str) -> AudioFileError:
    return AudioFileError(f"cannot {verb} {printable(str(path))}: {reason}")
