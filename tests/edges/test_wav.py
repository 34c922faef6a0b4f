"""The zoo of recordings, good and bad."""

import os
import resource
import struct
import tracemalloc
import wave
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import trio
import trio.testing

from pipeline.dsp.pcm16 import to_samples
from pipeline.edges.synthetic import counter_signal, tone
from pipeline.edges.wav import WavLoudspeaker, WavMicrophone, demand_readable, read_wav
from pipeline.vocabulary.errors import AudioFileError

RIFF = struct.Struct("<4sI4s")


def chunk(name: bytes, body: bytes) -> bytes:
    return name + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)


def fmt(tag: int = 1, channels: int = 1, rate_hz: int = 24_000, bits: int = 16, *, extensible: bool = False) -> bytes:
    width = channels * bits // 8
    body = struct.pack(
        "<HHIIHH", 0xFFFE if extensible else tag, channels, rate_hz, rate_hz * width % 2**32, width, bits
    )
    if extensible:
        guid_tail = bytes.fromhex("000000001000800000aa00389b71")
        body += struct.pack("<HHI", 22, bits, 0) + struct.pack("<H", tag) + guid_tail
    return chunk(b"fmt ", body)


def riff(*chunks: bytes) -> bytes:
    body = b"".join(chunks)
    return RIFF.pack(b"RIFF", 4 + len(body), b"WAVE") + body


def encoded(ratio: np.ndarray[tuple[int], np.dtype[np.float64]], tag: int, bits: int) -> bytes:
    """Samples of -1 to 1 as a file holds them."""
    if tag == 3:
        return ratio.astype("<f4").tobytes()
    if bits == 8:
        return np.rint(ratio * 128 + 128).astype("u1").tobytes()
    wide = np.rint(ratio * (2 ** (bits - 1) - 1)).astype("<i4")
    return bytes(wide.view("u1").reshape(-1, 4)[:, : bits // 8].tobytes())


SINE = np.sin(2 * np.pi * 440 * np.arange(4_800) / 24_000) * 0.5


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize("channels", [1, 2, 6])
@pytest.mark.parametrize(("tag", "bits"), [(1, 8), (1, 16), (1, 24), (1, 32), (3, 32)])
def test_every_depth_and_channel_count_gives_the_same_sound(
    tmp_path: Path, *, tag: int, bits: int, channels: int, extensible: bool
) -> None:
    path = tmp_path / "a.wav"
    ratio = np.repeat(SINE, channels)
    path.write_bytes(
        riff(
            chunk(b"LIST", b"odd"),
            fmt(tag, channels, bits=bits, extensible=extensible),
            chunk(b"data", encoded(ratio, tag, bits)),
            chunk(b"id3 ", b"after the sound"),
        )
    )
    samples = to_samples(read_wav(path))
    assert samples.size == SINE.size
    steps = 2 if bits > 8 else 160
    assert np.abs(samples - SINE * 32_767).max() <= steps


@pytest.mark.parametrize("rate_hz", [8_000, 11_025, 16_000, 44_100, 48_000, 96_000, 192_000])
def test_every_rate_keeps_length_pitch_and_level(tmp_path: Path, rate_hz: int) -> None:
    path = tmp_path / "a.wav"
    ratio = np.sin(2 * np.pi * 440 * np.arange(rate_hz) / rate_hz) * 0.5
    path.write_bytes(riff(fmt(rate_hz=rate_hz), chunk(b"data", encoded(ratio, 1, 16))))
    samples = to_samples(read_wav(path)).astype(float)
    assert samples.size == 24_000
    spectrum = np.abs(np.fft.rfft(samples))
    assert spectrum.argmax() == 440
    assert spectrum[440] / 12_000 == pytest.approx(0.5 * 32_767, rel=0.01)


def test_a_file_in_our_own_format_comes_through_bit_by_bit(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    pcm = counter_signal(3.3).pcm
    path.write_bytes(riff(fmt(), chunk(b"data", pcm + b"\7")))  # half a sample too much is not a sample
    assert read_wav(path) == pcm


def test_float_beyond_full_scale_is_clipped_and_what_is_no_number_is_silence(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    values = np.array([2.0, -3.0, np.nan, np.inf, -np.inf, 3e38, 0.5], "<f4")
    path.write_bytes(riff(fmt(3, bits=32), chunk(b"data", values.tobytes())))
    assert to_samples(read_wav(path)).tolist() == [32_767, -32_768, 0, 32_767, -32_768, 32_767, 16_384]


SOUND = chunk(b"data", bytes(4_800))
ZOO = {
    "empty": (b"", "it is empty"),
    "text": (b"not a recording at all", "not a WAV file"),
    "mp3": (b"ID3\4" + bytes(100), "not a WAV file"),
    "big endian": (b"RIFX" + riff(fmt(), SOUND)[4:], "not a WAV file"),
    "riff but no wave": (RIFF.pack(b"RIFF", 4, b"AVI "), "not a WAV file"),
    "header only": (riff(), "holds no sound"),
    "no data": (riff(fmt()), "holds no sound"),
    "data of nothing": (riff(fmt(), chunk(b"data", b"")), "holds no sound"),
    "less than a sample": (riff(fmt(), chunk(b"data", b"\1")), "holds no sound"),
    "sound before format": (riff(SOUND, fmt()), "before its format"),
    "format cut off": (riff(chunk(b"fmt ", bytes(8)), SOUND), "header is cut off"),
    "file cut in the header": (riff(fmt(), SOUND)[:30], "header is cut off"),
    "truncated": (riff(fmt(), SOUND)[:-2_400], "0.05 of 0.10 s are missing"),
    "mu-law": (riff(fmt(7, rate_hz=8_000, bits=8), SOUND), "compressed (µ-law)"),
    "adpcm": (riff(fmt(17, bits=8), SOUND), "compressed (IMA ADPCM)"),
    "mp3 in wav": (riff(fmt(85, bits=8), SOUND), "compressed (MP3)"),
    "unknown codec": (riff(fmt(4711), SOUND), "compressed (format 4711)"),
    "12 bit": (riff(fmt(bits=12), SOUND), "12-bit samples"),
    "64-bit float": (riff(fmt(3, bits=64), SOUND), "64-bit float samples"),
    "no channels": (riff(fmt(channels=0), SOUND), "contradicts itself"),
    "rate zero": (riff(fmt(rate_hz=0), SOUND), "says 0 samples a second"),
    "rate absurd": (riff(fmt(rate_hz=4_000_000_000), SOUND), "4000000000 samples a second"),
    "too many chunks": (riff(chunk(b"junk", b"") * 2_000, fmt(), SOUND), "holds no sound"),
}


@pytest.mark.parametrize("animal", ZOO)
def test_a_file_that_cannot_be_used_gets_one_clear_line(tmp_path: Path, animal: str) -> None:
    content, expected = ZOO[animal]
    path = tmp_path / "question.wav"
    path.write_bytes(content)
    with pytest.raises(AudioFileError) as caught:
        read_wav(path)
    assert expected in caught.value.message
    assert caught.value.message.startswith(f"cannot read {path}: ")
    assert "\n" not in caught.value.message
    assert caught.value.exit_code == 2


def test_eleven_minutes_are_refused_before_they_are_read(tmp_path: Path) -> None:
    path = tmp_path / "album.wav"
    length = 660 * 8_000 * 2
    with path.open("wb") as file:
        file.write(RIFF.pack(b"RIFF", 36 + length, b"WAVE") + fmt(rate_hz=8_000) + b"data" + struct.pack("<I", length))
        file.truncate(44 + length)  # a hole costs no disk
    with pytest.raises(AudioFileError, match=r"it lasts 660 s; at most 600 s"):
        read_wav(path)


def test_what_is_no_file_gets_one_clear_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, expected in {
        "missing.wav": "there is no such file",
        "pipe": "it is not a file",
        ".": "it is a folder",
        "x" * 300: "name too long",
        "evil\x1b[2J\n.wav": "there is no such file",
    }.items():
        with pytest.raises(AudioFileError) as caught:
            read_wav(tmp_path / name)
        assert expected in caught.value.message.replace("File name", "name")
        assert caught.value.message.isprintable()


@contextmanager
def unprivileged() -> Iterator[None]:
    """Drop root's rights over files, which would make every file readable."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(65_534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.fixture
def locked() -> Iterator[Path]:
    """A folder others may enter (pytest's own they may not), with a recording nobody may read, and no room for more."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "secret.wav").write_bytes(riff(fmt(), SOUND))
        (folder / "secret.wav").chmod(0)
        folder.chmod(0o555)
        yield folder
        folder.chmod(0o755)


async def test_no_permission_is_told_for_reading_and_for_writing(locked: Path) -> None:
    with unprivileged():
        with pytest.raises(AudioFileError, match="permission denied"):
            read_wav(locked / "secret.wav")
        for name in ("secret.wav", "new.wav"):
            with pytest.raises(AudioFileError, match=r"cannot write .*: permission denied"):
                async with WavLoudspeaker(locked / name).open(20):
                    pytest.fail("the recorder must not open")


async def test_the_microphone_plays_the_file_then_silence_and_marks_the_end_of_speech(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "question.wav"
    speech = tone(1.0).pcm + bytes(2 * 12_000)  # half a second of silence inside the file
    path.write_bytes(riff(fmt(), chunk(b"data", speech)))
    start_s = trio.current_time()
    async with WavMicrophone(path, tail_s=0.7).open(20) as blocks:
        heard = [block async for block in blocks]
    assert b"".join(block.pcm for block in heard).rstrip(b"\0") == speech.rstrip(b"\0")
    assert len(heard) == 110
    assert trio.current_time() - start_s == pytest.approx(2.2)
    [(captured_s, end_s)] = [
        (block.captured_s, block.speech_end_s) for block in heard if block.speech_end_s is not None
    ]
    assert end_s == pytest.approx(start_s + 1.0, abs=0.011)
    assert captured_s < end_s <= captured_s + 0.02 + 1e-9


async def test_a_silent_file_has_no_end_of_speech(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    path = tmp_path / "silence.wav"
    path.write_bytes(riff(fmt(), SOUND))
    async with WavMicrophone(path).open(20) as blocks:
        assert [block.speech_end_s async for block in blocks] == [None] * 105


async def test_the_recording_is_a_valid_wav_at_any_moment(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "reply.wav"
    path.write_bytes(b"an older recording, much longer than the new one" * 1_000)
    sound = counter_signal(0.2).pcm
    async with WavLoudspeaker(path).open(20) as output:
        for index in range(11):
            with wave.open(str(path)) as sofar:
                assert sofar.getparams()[:4] == (1, 2, 24_000, 480 * index)
            await output.wait_request()
            await output.write(sound[960 * index : 960 * (index + 1)] or None)
    assert read_wav(path) == sound + bytes(960)
    assert path.stat().st_size == 44 + len(sound) + 960


async def test_a_recording_ends_at_its_bound_and_the_call_goes_on(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "reply.wav"
    async with WavLoudspeaker(path, max_s=0.1).open(20) as output:
        for _ in range(20):
            await output.wait_request()
            await output.write(b"\1" * 960)
    assert len(read_wav(path)) == 5 * 960


async def test_a_recorder_that_cannot_open_gets_one_clear_line(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for name, expected in {
        "no/such/folder/reply.wav": "its folder does not exist",
        ".": "it is a folder",
        "pipe": "it is not a file",
    }.items():
        with pytest.raises(AudioFileError, match=expected):
            async with WavLoudspeaker(tmp_path / name).open(20):
                pytest.fail("the recorder must not open")


async def record(path: Path, *, blocks: int) -> None:
    async with WavLoudspeaker(path).open(20) as output:
        for _ in range(blocks):
            await output.wait_request()
            await output.write(b"\1" * 960)


async def test_a_full_disk_is_told(tmp_path: Path, autojump_clock: trio.testing.MockClock) -> None:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(AudioFileError, match=r"cannot write .*: File too large"):
            await record(tmp_path / "reply.wav", blocks=20)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


async def test_what_the_caller_raises_is_not_taken_for_a_broken_disk(
    tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    with pytest.raises(OSError, match="the caller's own"):
        async with WavLoudspeaker(tmp_path / "reply.wav").open(20):
            raise OSError("the caller's own")


def test_a_long_file_is_never_in_memory_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    path.write_bytes(riff(fmt(channels=2, rate_hz=48_000, bits=24), chunk(b"data", bytes(20 * 48_000 * 6))))
    tracemalloc.start()
    try:
        assert len(read_wav(path)) == 20 * 48_000
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000, "the result takes 1 MB, the file 5.8 MB, its samples as floats 15 MB"


@pytest.mark.parametrize("length", [b"\xff\xff\xff\xff", b"\x00\xf0\xff\x7f"])
def test_a_recording_written_into_a_pipe_goes_to_the_end_of_its_file(tmp_path: Path, length: bytes) -> None:
    path = tmp_path / "streamed.wav"
    path.write_bytes(riff(fmt(), b"data" + length + b"\x01\x02" * 480))
    assert read_wav(path) == b"\x01\x02" * 480


def test_a_header_is_judged_without_reading_the_sound(tmp_path: Path) -> None:
    with pytest.raises(AudioFileError, match="there is no such file"):
        demand_readable(tmp_path / "absent.wav")
    (tmp_path / "text.wav").write_text("not a recording")
    with pytest.raises(AudioFileError, match="not a WAV"):
        demand_readable(tmp_path / "text.wav")
