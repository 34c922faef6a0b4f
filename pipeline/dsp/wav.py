"""WAV: where the sound of a file begins, what it is, and the same sound as talkwire carries it.

Read: RIFF/WAVE with integer PCM of 8 to 32 bit or 32-bit float, plain or WAVE_FORMAT_EXTENSIBLE, any channels, 8 to
192 kHz. (The stdlib's reader knows neither float nor, before Python 3.12, extensible files.)
"""

import struct
from collections.abc import Iterator
from typing import BinaryIO, Final, NamedTuple

import numpy as np

from pipeline.dsp.pcm16 import FULL_SCALE, to_pcm
from pipeline.dsp.resample import StreamResampler, to_mono
from pipeline.vocabulary.frames import RATE_HZ

MAX_INPUT_S: Final = 600  # s: 29 MB of samples; a question is shorter, an album is a mistake
STREAMED_BYTES: Final = 0x7FFF_F000  # a data chunk this long was written into a pipe: it goes to the end of the file
RATES_HZ: Final = range(8_000, 192_001)
MAX_CHUNKS: Final = 1_000  # chunks before the sound; editors write a dozen, a broken file could hold millions

_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_DEPTHS = {_PCM: (8, 16, 24, 32), _FLOAT: (32,)}
_CODECS = {2: "ADPCM", 6: "A-law", 7: "µ-law", 17: "IMA ADPCM", 49: "GSM", 80: "MPEG", 85: "MP3"}


class UnreadableWavError(Exception):
    """Why a file that could be opened is no use: the end of a sentence that begins with the file's name."""


class WavFormat(NamedTuple):
    """What a `fmt ` chunk says."""

    tag: int
    channels: int
    rate_hz: int
    frame_bytes: int
    bits: int


def find_sound(file: BinaryIO, size: int) -> tuple[WavFormat, int]:
    """Read up to the first sample; the format and the number of bytes of sound.

    Args:
        file: at its beginning.
        size: of the whole file, in bytes.

    Raises:
        UnreadableWavError: not a WAV, cut off, compressed, too long, or its header makes no sense.
    """
    riff = file.read(12)
    if riff[:4] != b"RIFF" or riff[8:] != b"WAVE":
        raise UnreadableWavError("it is not a WAV file")
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
                raise UnreadableWavError("its sound comes before its format")
            return form, _checked_length(form, length, size - start)
        file.seek(start + length + length % 2)  # chunks begin at even places
    raise UnreadableWavError("it holds no sound, only a header; was it cut off?")


def _parse_format(raw: bytes) -> WavFormat:
    if len(raw) < 16:
        raise UnreadableWavError("its header is cut off")
    tag, channels, rate_hz, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", raw)
    if tag == _EXTENSIBLE and len(raw) >= 26:
        (tag,) = struct.unpack_from("<H", raw, 24)  # the sub-format's GUID begins with the plain tag
    form = WavFormat(tag, channels, rate_hz, frame_bytes, bits)
    if tag not in _DEPTHS:
        codec = _CODECS.get(tag, f"format {tag}")
        raise UnreadableWavError(f"it is compressed ({codec}); convert it to 16-bit PCM")
    if bits not in _DEPTHS[tag]:
        raise UnreadableWavError(
            f"it has {bits}-bit {'float ' if tag == _FLOAT else ''}samples; convert it to 16-bit PCM"
        )
    if channels == 0 or frame_bytes != channels * bits // 8:
        raise UnreadableWavError(f"its header contradicts itself: {channels} channels, {frame_bytes} bytes a sample")
    if rate_hz not in RATES_HZ:
        raise UnreadableWavError(f"its header says {rate_hz} samples a second; 8000 to 192000 can be used")
    return form


def _checked_length(form: WavFormat, length: int, present: int) -> int:
    """Bytes of whole frames in a data chunk that claims `length` and of which `present` are there."""
    bytes_per_s = form.rate_hz * form.frame_bytes
    if length >= STREAMED_BYTES:
        length = present
    if length > present:
        raise UnreadableWavError(
            f"it is cut off: {(length - present) / bytes_per_s:.2f} of {length / bytes_per_s:.2f} s are missing"
        )
    length -= length % form.frame_bytes
    if length == 0:
        raise UnreadableWavError("it holds no sound")
    if length > MAX_INPUT_S * bytes_per_s:
        raise UnreadableWavError(f"it lasts {length / bytes_per_s:.0f} s; at most {MAX_INPUT_S} s can be used")
    return length


def decoded(file: BinaryIO, form: WavFormat, length: int) -> Iterator[bytes]:
    """The sound as s16le mono at RATE_HZ, a second at a time, so that a long file needs little memory.

    A 16-bit mono file of that rate comes through bit by bit.

    Args:
        file: where `find_sound` left it.
        form: what `find_sound` found there.
        length: likewise.

    Raises:
        UnreadableWavError: the file became shorter meanwhile.
    """
    resampler = StreamResampler(form.rate_hz, RATE_HZ)
    while length:
        raw = file.read(min(length, form.rate_hz * form.frame_bytes))
        raw = raw[: len(raw) - len(raw) % form.frame_bytes]
        if not raw:
            raise UnreadableWavError("it became shorter while it was read")
        length -= len(raw)
        yield resampler.process(to_mono(_to_s16(raw, form), form.channels))
    yield resampler.flush()


def _to_s16(raw: bytes, form: WavFormat) -> bytes:
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
