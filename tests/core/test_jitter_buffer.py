"""The jitter buffer under every order of arrival, with samples that are their own number."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from pipeline.core.jitter_buffer import TURNS_MAX, Block, JitterBuffer, Segment
from pipeline.vocabulary.frames import SpeechFrame

BLOCK = 480


def count_up(start: int, samples: int) -> bytes:
    """Samples that are their own number; zero is left to silence."""
    return np.arange(start, start + samples).astype("<u2").tobytes()


def frame(
    turn: int, pcm: bytes, *, ends_turn: bool = False, item_id: str = "item", content_index: int = 0
) -> SpeechFrame:
    return SpeechFrame(turn, item_id, content_index, pcm, ends_turn)


def buffer(prefill_ms: float = 0, hold_ms: float = 400) -> JitterBuffer:
    return JitterBuffer(prefill_ms=prefill_ms, hold_ms=hold_ms)


def sound_of(block: Block) -> list[int]:
    samples: list[int] = np.frombuffer(block.pcm, "<u2").tolist()
    return samples[: sum(segment.samples for segment in block.segments)]


class Arrival(RuleBasedStateMachine):
    """A reply arrives in pieces, the device takes blocks, the floor rises: whatever the order, the books balance."""

    @initialize(prefill_ms=st.sampled_from([0, 1, 2, 20]))
    def start(self, prefill_ms: int) -> None:
        self.buffer = JitterBuffer(prefill_ms=prefill_ms, hold_ms=30)
        self.prefill = max(1, prefill_ms * 24)
        self.turn = 0
        self.floor = 0
        self.next_sample = 1
        self.accepted: dict[int, list[tuple[int, str]]] = {}
        self.sounded: dict[int, list[tuple[int, str]]] = {}
        self.order: list[int] = []
        self.ended: set[int] = set()
        self.finished: set[int] = set()
        self.idle_samples = 0

    @precondition(lambda self: self.buffer.has_room)
    @rule(samples=st.sampled_from([0, 1, 23, 24, 240, 480, 700]), item_id=st.sampled_from("ab"), ends=st.booleans())
    def push(self, samples: int, item_id: str, ends: bool) -> None:  # noqa: FBT001 - drawn by hypothesis
        stale = self.turn < self.floor or self.turn in self.ended
        pcm = count_up(self.next_sample, samples)
        assert self.buffer.push(frame(self.turn, pcm, ends_turn=ends, item_id=item_id)) is not stale
        if not stale:
            new = [(number, item_id) for number in range(self.next_sample, self.next_sample + samples)]
            self.accepted.setdefault(self.turn, []).extend(new)
            if ends:
                self.ended.add(self.turn)
        self.next_sample = (self.next_sample + samples) % 60_000 or 1

    @rule()
    def next_turn(self) -> None:
        self.turn += 1

    @precondition(lambda self: self.buffer.has_room and self.accepted and max(self.accepted) > 0)
    @rule()
    def late_frame_of_an_older_turn(self) -> None:
        newest = max(self.accepted)
        assert not self.buffer.push(frame(newest - 1, count_up(1, 5)))

    @rule(samples=st.sampled_from([1, 100, BLOCK]))
    def take(self, samples: int) -> None:
        block = self.buffer.take(samples)
        if block is None:
            self.idle_samples += samples
            return
        assert len(block.pcm) == 2 * samples
        self.heard(block)
        silence = block.pcm[2 * sum(segment.samples for segment in block.segments) :]
        assert not any(silence)
        if block.ends_turn:
            self.finished.add(block.turn)

    @rule(raise_by=st.integers(0, 2), tail_samples=st.sampled_from([0, 50, 192]))
    def flush(self, raise_by: int, tail_samples: int) -> None:
        self.floor = max(self.floor, self.turn) + raise_by
        before = self.buffer.statistics()
        cut = self.buffer.flush(self.floor, tail_samples)
        after = self.buffer.statistics()
        tail = 0
        if cut.tail is not None:
            self.heard(cut.tail)
            tail = len(cut.tail.pcm) // 2
            assert 0 < tail <= tail_samples
        assert cut.samples == after.cut - before.cut == before.held - after.held - tail
        assert after.held == sum(
            len(accepted) - len(self.sounded.get(turn, []))
            for turn, accepted in self.accepted.items()
            if turn >= self.floor
        )

    def heard(self, block: Block) -> None:
        owners = [segment.item_id for segment in block.segments for _ in range(segment.samples)]
        self.sounded.setdefault(block.turn, []).extend(zip(sound_of(block), owners, strict=True))
        if not self.order or self.order[-1] != block.turn:
            self.order.append(block.turn)

    @invariant()
    def every_sample_is_accounted_for(self) -> None:
        if hasattr(self, "buffer"):
            s = self.buffer.statistics()
            assert s.pushed == s.taken + s.cut + s.held + s.refused
            assert s.taken == sum(map(len, self.sounded.values()))
            assert s.held <= 30 * 24 + 700
            assert s.underrun_samples <= self.idle_samples + BLOCK * s.underruns

    @invariant()
    def nothing_is_doubled_reordered_or_mixed(self) -> None:
        if hasattr(self, "buffer"):
            assert all(earlier < later for earlier, later in pairwise(self.order))
            for turn, sounded in self.sounded.items():
                assert sounded == self.accepted.get(turn, [])[: len(sounded)]
            for turn in self.finished:
                assert self.sounded.get(turn, []) == self.accepted[turn]

    def teardown(self) -> None:
        """What is left plays out once its turn has ended: nothing is lost."""
        if not hasattr(self, "buffer"):
            return
        self.turn = max(self.turn, self.floor) + 1
        while not self.buffer.has_room:
            self.take(BLOCK)
        self.push(10, "a", ends=True)
        while self.buffer.statistics().held:
            self.take(BLOCK)
        assert self.turn in self.finished
        self.nothing_is_doubled_reordered_or_mixed()


Arrival.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestArrival = Arrival.TestCase


def test_a_turn_sounds_when_prefilled_and_not_before() -> None:
    jitter = buffer(prefill_ms=40)
    jitter.push(frame(1, count_up(1, BLOCK)))
    assert jitter.take(BLOCK) is None
    jitter.push(frame(1, count_up(481, BLOCK)))
    block = jitter.take(BLOCK)
    assert block == Block(1, count_up(1, BLOCK), (Segment("item", 0, BLOCK),), ends_turn=False)
    assert jitter.statistics().underruns == jitter.statistics().underrun_samples == 0


def test_nothing_is_added_to_a_turn_that_has_ended() -> None:
    jitter = buffer()
    jitter.push(frame(1, count_up(1, 100), ends_turn=True))
    assert not jitter.push(frame(1, count_up(101, 100)))
    assert jitter.statistics().refused == 100


def test_a_turn_shorter_than_the_prefill_sounds_when_it_is_complete_and_is_padded() -> None:
    jitter = buffer(prefill_ms=200)
    jitter.push(frame(1, count_up(1, 100), ends_turn=True))
    block = jitter.take(BLOCK)
    assert block == Block(1, count_up(1, 100) + bytes(760), (Segment("item", 0, 100),), ends_turn=True)
    assert jitter.statistics().underrun_samples == 0


def test_an_underrun_is_counted_silence_and_the_turn_resumes_when_prefilled_again() -> None:
    jitter = buffer(prefill_ms=20)
    jitter.push(frame(1, count_up(1, 600)))
    assert jitter.take(BLOCK) is not None
    block = jitter.take(BLOCK)
    assert block is not None
    assert sound_of(block) == list(range(481, 601))
    jitter.push(frame(1, count_up(601, 240)))
    assert jitter.take(BLOCK) is None
    assert jitter.statistics().underruns == 1
    assert jitter.statistics().underrun_samples == 360 + BLOCK
    jitter.push(frame(1, count_up(841, 240)))
    resumed = jitter.take(BLOCK)
    assert resumed is not None
    assert sound_of(resumed) == list(range(601, 1081))


def test_an_end_that_comes_after_the_last_sample_was_taken_is_still_told() -> None:
    jitter = buffer()
    jitter.push(frame(1, count_up(1, BLOCK)))
    jitter.take(BLOCK)
    jitter.push(frame(1, b"", ends_turn=True))
    assert jitter.take(BLOCK) == Block(1, bytes(2 * BLOCK), (), ends_turn=True)
    assert jitter.take(BLOCK) is None
    assert jitter.statistics().underrun_samples == 0


def test_a_block_tells_which_parts_it_holds() -> None:
    jitter = buffer()
    jitter.push(frame(1, count_up(1, 100)))
    jitter.push(frame(1, count_up(101, 100)))
    jitter.push(frame(1, count_up(201, 100), content_index=1))
    jitter.push(frame(1, count_up(301, 400), item_id="next"))
    block = jitter.take(BLOCK)
    assert block is not None
    assert block.segments == (Segment("item", 0, 200), Segment("item", 1, 100), Segment("next", 0, 180))


def test_the_next_turn_begins_in_a_block_of_its_own() -> None:
    jitter = buffer()
    jitter.push(frame(1, count_up(1, 100), ends_turn=True))
    jitter.push(frame(2, count_up(1000, 100), ends_turn=True))
    first, second = jitter.take(BLOCK), jitter.take(BLOCK)
    assert first is not None
    assert second is not None
    assert (first.turn, sound_of(first)) == (1, list(range(1, 101)))
    assert (second.turn, sound_of(second)) == (2, list(range(1000, 1100)))


def test_a_flush_hands_back_the_next_samples_of_the_sounding_turn_only() -> None:
    jitter = buffer()
    jitter.push(frame(1, count_up(1, 1000)))
    jitter.take(BLOCK)
    cut = jitter.flush(2, tail_samples=192)
    assert cut.tail == Block(1, count_up(481, 192), (Segment("item", 0, 192),), ends_turn=False)
    assert cut.samples == 1000 - BLOCK - 192
    assert jitter.take(BLOCK) is None
    assert not jitter.push(frame(1, count_up(1, 10)))


def test_a_flush_before_a_turn_sounds_leaves_no_tail() -> None:
    jitter = buffer(prefill_ms=100)
    jitter.push(frame(1, count_up(1, 1000)))
    cut = jitter.flush(2, tail_samples=192)
    assert cut.tail is None
    assert cut.samples == 1000


def test_a_flush_spares_what_is_not_below_the_floor() -> None:
    jitter = buffer()
    jitter.push(frame(1, count_up(1, 100), ends_turn=True))
    jitter.push(frame(2, count_up(1000, 100), ends_turn=True))
    assert jitter.flush(2).samples == 100
    block = jitter.take(BLOCK)
    assert block is not None
    assert block.turn == 2


def test_the_bound_is_sound_and_turns() -> None:
    jitter = buffer(hold_ms=20)
    jitter.push(frame(1, count_up(1, BLOCK)))
    assert not jitter.has_room
    with pytest.raises(AssertionError, match="has_room"):
        jitter.push(frame(1, b""))
    turns = buffer()
    for turn in range(TURNS_MAX):
        assert turns.has_room
        turns.push(frame(turn, b"", ends_turn=True))
    assert not turns.has_room


@pytest.mark.parametrize(("prefill_ms", "hold_ms"), [(-1, 100), (100, 100), (0, 0)])
def test_bounds_that_could_never_play_are_refused(prefill_ms: float, hold_ms: float) -> None:
    with pytest.raises(ValueError, match=r"prefill_ms .* hold_ms"):
        JitterBuffer(prefill_ms=prefill_ms, hold_ms=hold_ms)
