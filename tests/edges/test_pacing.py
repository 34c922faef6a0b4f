from itertools import repeat

import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.edges.pacing import STALL_S, PacedOutput, Sound, _blocks, hear, silence
from pipeline.edges.synthetic import counter_signal

CLOCK_S = 1e-9  # rounding of a host clock that counts in floats


@settings(max_examples=40)
@given(
    sounds=st.lists(st.tuples(st.integers(1, 700), st.booleans()), min_size=1, max_size=12),
    frame=st.integers(1, 500),
)
def test_blocks_hold_every_sample_in_order_and_each_end_of_speech_once(
    sounds: list[tuple[int, bool]], frame: int
) -> None:
    script, ends, wire = [], [], b""
    for index, (samples, spoken) in enumerate(sounds):
        pcm = bytes([index + 1, 0]) * samples
        wire += pcm
        ends += [len(wire) // 2] if spoken else []
        script.append(Sound(pcm, samples if spoken else None))
    blocks = list(_blocks(script, 2 * frame))

    assert {len(pcm) for pcm, _ in blocks} == {2 * frame}
    heard = b"".join(pcm for pcm, _ in blocks)
    assert heard[: len(wire)] == wire
    assert not heard[len(wire) :].strip(b"\0")
    assert len(heard) - len(wire) < 2 * frame
    for index, (_, end) in enumerate(blocks):
        inside = [mark for mark in ends if index * frame < mark <= (index + 1) * frame]
        assert end == (inside[-1] if inside else None)


async def test_a_block_comes_when_its_last_sample_was_heard(autojump_clock: trio.testing.MockClock) -> None:
    await trio.sleep(1.234)
    start_s = trio.current_time()
    blocks = hear([counter_signal(0.05)], 20)
    for index in range(3):
        block = await anext(blocks)
        assert trio.current_time() == pytest.approx(start_s + 0.02 * (index + 1), abs=CLOCK_S)
        assert block.captured_s == pytest.approx(start_s + 0.02 * index, abs=CLOCK_S)
    with pytest.raises(StopAsyncIteration):
        await anext(blocks)


async def test_a_late_consumer_does_not_shift_the_time_line(autojump_clock: trio.testing.MockClock) -> None:
    start_s = trio.current_time()
    blocks = hear(repeat(silence(0.02)), 20)
    await trio.sleep(1.01)
    captured = [(await anext(blocks)).captured_s for _ in range(51)]
    assert captured == pytest.approx([start_s + 0.02 * index for index in range(51)], abs=CLOCK_S)
    assert trio.current_time() == pytest.approx(start_s + 1.02, abs=CLOCK_S)
    await blocks.aclose()


class Played:
    def __init__(self) -> None:
        self.blocks: list[tuple[float, bytes]] = []

    def __call__(self, leaves_s: float, pcm: bytes) -> None:
        self.blocks.append((leaves_s, pcm))


async def test_an_output_asks_on_the_schedule_and_plays_what_it_gets(autojump_clock: trio.testing.MockClock) -> None:
    played, start_s = Played(), trio.current_time()
    output = PacedOutput(20, played)
    for index in range(3):
        request = await output.wait_request()
        assert request.samples == 480
        assert request.leaves_s == pytest.approx(start_s + 0.02 * index, abs=CLOCK_S)
        assert trio.current_time() == pytest.approx(request.leaves_s, abs=CLOCK_S)
        await output.write(None if index == 1 else bytes([index + 1]) * 960)
    assert [pcm for _, pcm in played.blocks] == [b"\1" * 960, bytes(960), b"\3" * 960]


async def test_a_request_left_unanswered_is_silence(autojump_clock: trio.testing.MockClock) -> None:
    played = Played()
    output = PacedOutput(20, played)
    await output.wait_request()
    await output.wait_request()
    await output.write(b"\1" * 960)
    assert [pcm for _, pcm in played.blocks] == [bytes(960), b"\1" * 960]


@pytest.mark.parametrize(("stall_s", "silent"), [(STALL_S - 0.001, 0), (STALL_S + 0.045, 3)])
async def test_only_a_stall_longer_than_a_cards_buffer_is_heard(
    autojump_clock: trio.testing.MockClock, stall_s: float, silent: int
) -> None:
    played, start_s = Played(), trio.current_time()
    output = PacedOutput(20, played)
    await trio.sleep(stall_s)
    request = await output.wait_request()
    await output.write(b"\1" * 960)
    assert [pcm for _, pcm in played.blocks] == [bytes(960)] * silent + [b"\1" * 960]
    assert request.leaves_s == pytest.approx(start_s + 0.02 * silent, abs=CLOCK_S)


async def test_a_cancelled_wait_loses_no_block(autojump_clock: trio.testing.MockClock) -> None:
    played, start_s = Played(), trio.current_time()
    output = PacedOutput(20, played)
    await output.wait_request()
    await output.write(None)
    with trio.move_on_after(0.005):
        await output.wait_request()
    request = await output.wait_request()
    assert request.leaves_s == pytest.approx(start_s + 0.02, abs=CLOCK_S)
    assert len(played.blocks) == 1
