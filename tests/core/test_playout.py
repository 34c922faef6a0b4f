"""The playhead: never ahead of what was handed over, never back, and never counting silence."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.jitter_buffer import Block, JitterBuffer, Segment
from pipeline.core.playout import RUNS_MAX, Playhead, Position
from pipeline.vocabulary.frames import SpeechFrame

BLOCK_S = 0.02
LATENCY_S = 0.06


def block(turn: int, *segments: Segment, ends_turn: bool = False) -> Block:
    return Block(turn, bytes(960), segments, ends_turn)


def part(samples: int = 480, item_id: str = "item", content_index: int = 0) -> Segment:
    return Segment(item_id, content_index, samples)


def test_handed_over_is_not_heard_until_it_leaves() -> None:
    head = Playhead()
    head.played(block(1, part()), leaves_s=10.0)
    assert head.heard(9.999) is None
    assert head.heard(10.0) == Position(1, "item", 0, 0.0)
    position = head.heard(10.005)
    assert position is not None
    assert position.heard_ms == pytest.approx(5.0)
    assert head.heard(99.0) == Position(1, "item", 0, 20.0)


def test_an_underrun_is_not_played_time() -> None:
    head = Playhead()
    head.played(block(1, part(240)), leaves_s=10.0)
    head.played(block(1, part()), leaves_s=10.5)
    assert head.heard(10.4) == Position(1, "item", 0, 10.0)
    position = head.heard(10.51)
    assert position is not None
    assert position.heard_ms == pytest.approx(20.0)


def test_the_part_that_sounds_is_named_and_counted_from_its_own_start() -> None:
    head = Playhead()
    head.played(block(1, part(240), part(240, content_index=1)), leaves_s=10.0)
    head.played(block(1, part(120, content_index=1), part(360, "next")), leaves_s=10.02)
    position = head.heard(10.022)
    assert position is not None
    assert position[:3] == (1, "item", 1)
    assert position.heard_ms == pytest.approx(12.0)
    position = head.heard(10.03)
    assert position is not None
    assert position[:3] == (1, "next", 0)
    assert position.heard_ms == pytest.approx(5.0)


def test_a_turn_is_finished_when_its_last_sample_has_left() -> None:
    head = Playhead()
    head.played(block(1, part(), ends_turn=False), leaves_s=10.0)
    assert not head.finished(1, 99.0)
    head.played(block(1, part(120), ends_turn=True), leaves_s=10.02)
    assert not head.finished(1, 10.0249)
    assert head.finished(1, 10.0251)


def test_a_short_next_turn_does_not_hide_that_the_last_one_finished() -> None:
    head = Playhead()
    head.played(block(1, part(), ends_turn=True), leaves_s=10.0)
    head.played(block(2, part(10), ends_turn=True), leaves_s=10.02)
    assert head.finished(1, 10.021)
    assert head.heard(10.03) == Position(2, "item", 0, 10 / 24)


def test_a_turn_that_was_cut_off_never_finishes() -> None:
    head = Playhead()
    head.played(block(1, part()), leaves_s=10.0)
    head.played(block(2, part(), ends_turn=True), leaves_s=10.02)
    assert not head.finished(1, 99.0)


def test_the_first_audible_sample_of_a_turn_counts() -> None:
    head = Playhead()
    head.played(block(1, part()), leaves_s=10.0)
    assert head.audible_s(1) is None
    head.played(block(1, part()), leaves_s=10.02, first_audible=24)
    head.played(block(1, part()), leaves_s=10.04, first_audible=0)
    head.played(block(2, part()), leaves_s=10.06, first_audible=0)
    assert head.audible_s(1) == pytest.approx(10.021)
    assert head.audible_s(2) == pytest.approx(10.06)


def test_a_turn_never_sounds_after_a_later_one() -> None:
    head = Playhead()
    head.played(block(2, part()), leaves_s=10.0)
    with pytest.raises(AssertionError, match="in order"):
        head.played(block(1, part()), leaves_s=10.02)


def test_a_day_of_blocks_needs_the_memory_of_seconds() -> None:
    head = Playhead()
    for number in range(4 * RUNS_MAX):
        head.played(block(1, part()), leaves_s=number * BLOCK_S)
    assert len(head._runs) == RUNS_MAX
    now = 4 * RUNS_MAX * BLOCK_S
    assert head.heard(now) == Position(1, "item", 0, 4 * RUNS_MAX * 20.0)


@given(
    wobbles_s=st.lists(st.floats(-0.05, 0.05), min_size=1, max_size=30),
    samples=st.lists(st.integers(0, 480), min_size=30, max_size=30),
    looks_s=st.lists(st.floats(0, 1), min_size=1, max_size=30),
)
def test_however_the_device_wobbles_heard_never_goes_back_nor_beyond_what_was_handed_over(
    wobbles_s: list[float], samples: list[int], looks_s: list[float]
) -> None:
    head = Playhead()
    looks = sorted(looks_s)
    handed_over = 0
    last_ms = 0.0
    for number, wobble_s in enumerate(wobbles_s):
        handed_over += samples[number]
        head.played(block(1, part(samples[number])), leaves_s=number * BLOCK_S + LATENCY_S + wobble_s)
        while looks and looks[0] <= (number + 1) * BLOCK_S:
            position = head.heard(looks.pop(0))
            if position is not None:
                assert last_ms <= position.heard_ms <= handed_over / 24 + 1e-9
                last_ms = position.heard_ms


@given(lengths=st.lists(st.integers(1, 1500), min_size=1, max_size=12), pauses=st.sets(st.integers(0, 11)))
def test_what_the_jitter_buffer_hands_out_is_heard_to_the_last_sample(lengths: list[int], pauses: set[int]) -> None:
    jitter, head = JitterBuffer(prefill_ms=20, hold_ms=1000), Playhead()
    now = 0.0

    def tick() -> None:
        nonlocal now
        if (taken := jitter.take(480)) is not None:
            head.played(taken, now + LATENCY_S)
        now += BLOCK_S

    for number, length in enumerate(lengths):
        while not jitter.has_room or number in pauses:
            pauses = pauses - {number}
            tick()
        jitter.push(SpeechFrame(1, "item", 0, bytes(2 * length), ends_turn=number == len(lengths) - 1))
        tick()
    while not head.finished(1, now):
        tick()
    position = head.heard(now)
    assert position is not None
    assert position.heard_ms == pytest.approx(sum(lengths) / 24)
