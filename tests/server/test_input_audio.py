from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.server.audio_format import PCM, PCMA
from pipeline.server.input_audio import MAX_BUFFER_MS, InputAudioBuffer
from pipeline.vocabulary.frames import BYTES_PER_MS


def ramp(first_ms: int, last_ms: int) -> bytes:
    """Sound in which every ms says which one it is."""
    return b"".join(ms.to_bytes(2, "little") * (BYTES_PER_MS // 2) for ms in range(first_ms, last_ms))


def test_a_turn_is_cut_out_where_it_lies_on_the_session_s_clock() -> None:
    buffer = InputAudioBuffer(PCM)
    buffer.write(ramp(0, 100))
    buffer.forget_before(40)
    buffer.write(ramp(100, 200))
    assert buffer.take(50, 150) == ramp(50, 150)
    assert (buffer.written_ms, buffer.duration_ms) == (200, 50)
    assert buffer.take_all() == ramp(150, 200)


def test_the_clock_goes_on_after_clear() -> None:
    buffer = InputAudioBuffer(PCM)
    buffer.write(ramp(0, 100))
    buffer.clear()
    assert (buffer.written_ms, buffer.duration_ms) == (100, 0)
    buffer.write(ramp(100, 120))
    assert buffer.take(0, 120) == ramp(100, 120)


def test_a_buffer_of_another_format_goes_on_with_the_clock() -> None:
    buffer = InputAudioBuffer(PCMA, begins_ms=100.5)
    assert buffer.write(bytes(range(160))) == bytes(range(160))
    assert (buffer.written_ms, buffer.duration_ms) == (120.5, 20)
    assert buffer.take(105.5, 110.5) == bytes(range(40, 80))
    assert buffer.take_all() == bytes(range(80, 160))
    assert buffer.has_room(MAX_BUFFER_MS * 8)
    assert not buffer.has_room(MAX_BUFFER_MS * 8 + 1)


def test_room_is_bounded() -> None:
    buffer = InputAudioBuffer(PCM)
    assert buffer.has_room(MAX_BUFFER_MS * BYTES_PER_MS)
    assert not buffer.has_room(MAX_BUFFER_MS * BYTES_PER_MS + 1)


@settings(max_examples=60)
@given(cuts=st.lists(st.integers(0, 960), max_size=6).map(sorted))
def test_pieces_of_any_size_join_to_whole_samples(cuts: list[int]) -> None:
    sound = ramp(0, 20)
    buffer = InputAudioBuffer(PCM)
    edges = [0, *cuts, len(sound)]
    whole = b"".join(buffer.write(sound[start:end]) for start, end in pairwise(edges))
    assert whole == sound == buffer.take_all()
