"""`wav:` devices: a recording as microphone, a recorder as loudspeaker, both in real time by trio's clock.

Read: RIFF/WAVE with integer PCM of 8 to 32 bit or 32-bit float, plain or WAVE_FORMAT_EXTENSIBLE, any channels, 8 to
192 kHz. (The stdlib's reader knows neither float nor, before Python 3.12, extensible files.) Written: 16 bit, mono.
"""

import os
import stat
import struct
import wave
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import numpy as np
import trio

from pipeline.dsp.level import last_speech_sample
from pipeline.dsp.pcm16 import FULL_SCALE, to_pcm
from pipeline.dsp.resample import StreamResampler, to_mono
from pipeline.edges.interfaces import InputBlock, OutputStream
from pipeline.edges.pacing import PacedOutput, Sound, hear, silence
from pipeline.vocabulary.configuration import printable
from pipeline.vocabulary.errors import AudioFileError
from pipeline.vocabulary.frames import RATE_HZ

TAIL_S: Final = (
    2.0  # s of silence after a file: a service's detector hears the end of a turn only in continuing silence
)
MAX_INPUT_S: Final = 600  # s: 29 MB of samples; a question is shorter, an album is a mistake
MAX_RECORDING_S: Final = 3_600  # s: 173 MB of disk; a longer call goes on, its recording does not
STREAMED_BYTES: Final = 0x7FFF_F000  # a data chunk this long was written into a pipe: it goes to the end of the file
RATES_HZ: Final = range(8_000, 192_001)
MAX_CHUNKS: Final = 1_000  # chunks before the sound; editors write a dozen, a broken file could hold millions

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_DEPTHS = {_PCM: (8, 16, 24, 32), _FLOAT: (32,)}
_CODECS = {2: "ADPCM", 6: "A-law", 7: "µ-law", 17: "IMA ADPCM", 49: "GSM", 80: "MPEG", 85: "MP3"}


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
        return b"".join(_decoded(file, form, length))


@contextmanager
def _sound_of(path: Path) -> Iterator[tuple[BinaryIO, "_Format", int]]:
    """The file, placed at its sound, its format and how many bytes of sound there are."""
    with _translated("read", path):
        _demand_regular(path)
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size == 0:
                raise _unusable("read", path, "it is empty")
            try:
                form, length = _find_sound(file, size)
                yield file, form, length
            except _UnreadableError as error:
                raise _unusable("read", path, str(error)) from None


class _UnreadableError(Exception):
    """Why a file that could be opened is no use."""


class _Format(NamedTuple):
    """What a `fmt ` chunk says."""

    tag: int
    channels: int
    rate_hz: int
    frame_bytes: int
    bits: int


def _find_sound(file: BinaryIO, size: int) -> tuple[_Format, int]:
    """Read up to the first sample; the format and the number of bytes of sound."""
    riff = file.read(12)
    if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
        raise _UnreadableError("it is not a WAV file")
    form = None
    for _ in range(MAX_CHUNKS):
        header = file.read(8)
        if len(header) < 8:
            break
        name, length = struct.unpack("<4sI", header)
        start = file.tell()
        if name == b"fmt ":
            form = _parse_format(file.read(min(length, 40)))
        elif name == b"data":
            if form is None:
                raise _UnreadableError("its sound comes before its format")
            return form, _checked_length(form, length, size - start)
        file.seek(start + length + length % 2)  # chunks begin at even places
    raise _UnreadableError("it holds no sound, only a header; was it cut off?")


def _parse_format(raw: bytes) -> _Format:
    if len(raw) < 16:
        raise _UnreadableError("its header is cut off")
    tag, channels, rate_hz, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", raw)
    if tag == _EXTENSIBLE and len(raw) >= 26:
        (tag,) = struct.unpack_from("<H", raw, 24)  # the sub-format's GUID begins with the plain tag
    form = _Format(tag, channels, rate_hz, frame_bytes, bits)
    if tag not in _DEPTHS:
        codec = _CODECS.get(tag, f"format {tag}")
        raise _UnreadableError(f"it is compressed ({codec}); convert it to 16-bit PCM")
    if bits not in _DEPTHS[tag]:
        raise _UnreadableError(
            f"it has {bits}-bit {'float ' if tag == _FLOAT else ''}samples; convert it to 16-bit PCM"
        )
    if channels == 0 or frame_bytes != channels * bits // 8:
        raise _UnreadableError(f"its header contradicts itself: {channels} channels, {frame_bytes} bytes a sample")
    if rate_hz not in RATES_HZ:
        raise _UnreadableError(f"its header says {rate_hz} samples a second; 8000 to 192000 can be used")
    return form


def _checked_length(form: _Format, length: int, present: int) -> int:
    """Bytes of whole frames in a data chunk that claims `length` and of which `present` are there."""
    bytes_per_s = form.rate_hz * form.frame_bytes
    if length >= STREAMED_BYTES:
        length = present
    if length > present:
        raise _UnreadableError(
            f"it is cut off: {(length - present) / bytes_per_s:.2f} of {length / bytes_per_s:.2f} s are missing"
        )
    length -= length % form.frame_bytes
    if length == 0:
        raise _UnreadableError("it holds no sound")
    if length > MAX_INPUT_S * bytes_per_s:
        raise _UnreadableError(f"it lasts {length / bytes_per_s:.0f} s; at most {MAX_INPUT_S} s can be used")
    return length


def _decoded(file: BinaryIO, form: _Format, length: int) -> Iterator[bytes]:
    """The sound as s16le mono at RATE_HZ, a second at a time, so that a long file needs little memory."""
    resampler = StreamResampler(form.rate_hz, RATE_HZ)
    while length:
        raw = file.read(min(length, form.rate_hz * form.frame_bytes))
        raw = raw[: len(raw) - len(raw) % form.frame_bytes]
        if not raw:
            raise _UnreadableError("it became shorter while it was read")
        length -= len(raw)
        yield resampler.process(to_mono(_to_s16(raw, form), form.channels))
    yield resampler.flush()


def _to_s16(raw: bytes, form: _Format) -> bytes:
    """Samples of any supported kind as s16le, channels still interleaved."""
    match form.tag, form.bits:
        case (1, 16):
            return raw
        case (1, 8):  # the one unsigned kind
            return to_pcm((np.frombuffer(raw, "u1").astype(np.float32) - 128) * 256)
        case (1, 24):
            wide = np.zeros((len(raw) // 3, 4), "u1")
            wide[:, 1:] = np.frombuffer(raw, "u1").reshape(-1, 3)
            return to_pcm(wide.view("<i4")[:, 0] / 65_536)
        case (1, 32):
            return to_pcm(np.frombuffer(raw, "<i4") / 65_536)
        case _:
            ratio = np.nan_to_num(np.frombuffer(raw, "<f4"), nan=0.0, posinf=1.0, neginf=-1.0)
            return to_pcm(np.clip(ratio, -1, 1) * FULL_SCALE)


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
