import io
import struct
import wave

import numpy as np
import pytest

from pipeline.dsp.wav import UnreadableWavError, decoded, find_sound
from pipeline.vocabulary.frames import RATE_HZ

TONE = np.rint(8_000 * np.sin(np.arange(RATE_HZ) * 0.1)).astype("<i2")


def recording(samples: bytes, *, width: int = 2, rate_hz: int = RATE_HZ, channels: int = 1) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setparams((channels, width, rate_hz, 0, "NONE", "not compressed"))
        writer.writeframes(samples)
    return file.getvalue()


def read(content: bytes) -> bytes:
    file = io.BytesIO(content)
    return b"".join(decoded(file, *find_sound(file, len(content))))


def test_sound_of_our_own_kind_comes_through_bit_by_bit() -> None:
    assert read(recording(TONE.tobytes())) == TONE.tobytes()


def test_24_bit_stereo_becomes_16_bit_mono() -> None:
    wide = (TONE.astype("<i4") * 256).view("u1").reshape(-1, 4)[:, :3]
    assert read(recording(wide.repeat(2, axis=0).tobytes(), width=3, channels=2)) == TONE.tobytes()


def test_another_rate_keeps_the_duration() -> None:
    assert len(read(recording(TONE.tobytes(), rate_hz=8_000))) == 3 * 2 * RATE_HZ


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"ID3\4" + bytes(100), "not a WAV file"),
        (recording(TONE.tobytes())[:-100], "cut off"),
        (recording(TONE.tobytes()).replace(struct.pack("<H", 1), struct.pack("<H", 85), 1), "MP3"),
        (recording(b""), "no sound"),
    ],
)
def test_what_cannot_be_read_says_why(content: bytes, reason: str) -> None:
    with pytest.raises(UnreadableWavError, match=reason):
        read(content)
