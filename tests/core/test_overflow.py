"""The overflow rules, driven through the smallest queue that obeys them."""

from collections import deque

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.overflow import Decision, Hold, Overflow, decide
from pipeline.vocabulary.frames import BYTES_PER_MS, SpeechFrame


class Item(msgspec.Struct, frozen=True):
    number: int
    duration_ms: float


class Queue:
    """A queue that does what `decide` says and nothing else."""

    def __init__(self, rule: Overflow, hold: Hold) -> None:
        self.rule, self.hold = rule, hold
        self.items: deque[Item] = deque()
        self.dropped: list[int] = []

    @property
    def held(self) -> float:
        return sum(self.hold.size_of(item) for item in self.items)

    def offer(self, item: Item) -> Decision:
        while True:
            decision = decide(self.rule, self.held, self.hold.size_of(item), self.hold)
            if decision is not Decision.DROP_OLDEST:
                break
            self.dropped.append(self.items.popleft().number)
        if decision is Decision.ACCEPT:
            self.items.append(item)
        return decision


HOLDS = st.one_of(
    st.integers(1, 200).map(lambda amount: Hold(amount=amount, unit="ms")),
    st.integers(1, 9).map(lambda amount: Hold(amount=amount, unit="items")),
)
LENGTHS_MS = st.lists(st.sampled_from([0.0, 1.0, 10.0, 20.0, 40.0, 250.0]), max_size=40)


@given(rule=st.sampled_from(Overflow), hold=HOLDS, lengths_ms=LENGTHS_MS, takes=st.sets(st.integers(0, 39)))
def test_every_value_is_held_taken_dropped_or_handed_back_once_and_in_order(
    rule: Overflow, hold: Hold, lengths_ms: list[float], takes: set[int]
) -> None:
    queue = Queue(rule, hold)
    taken: list[int] = []
    handed_back: list[int] = []
    for number, length_ms in enumerate(lengths_ms):
        decision = queue.offer(Item(number, length_ms))
        if decision is not Decision.ACCEPT:
            handed_back.append(number)
        assert queue.held <= hold.amount or len(queue.items) == 1
        if number in takes and queue.items:
            taken.append(queue.items.popleft().number)
    held = [item.number for item in queue.items]
    assert sorted(taken + held + queue.dropped + handed_back) == list(range(len(lengths_ms)))
    assert taken + held == sorted(taken + held)
    assert queue.dropped == sorted(queue.dropped)
    if rule in {Overflow.DROP_OLDEST, Overflow.LATEST}:
        assert not handed_back
    else:
        assert not queue.dropped


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        (Overflow.WAIT, Decision.WAIT),
        (Overflow.DROP_OLDEST, Decision.DROP_OLDEST),
        (Overflow.LATEST, Decision.DROP_OLDEST),
        (Overflow.FAIL, Decision.REFUSE),
    ],
)
def test_a_full_queue_obeys_its_rule(rule: Overflow, expected: Decision) -> None:
    assert decide(rule, 2000.0, 20.0, Hold(amount=2000, unit="ms")) is expected


def test_latest_keeps_one_value_whatever_the_hold() -> None:
    queue = Queue(Overflow.LATEST, Hold(amount=5, unit="items"))
    for number in range(4):
        queue.offer(Item(number, 0.0))
    assert [item.number for item in queue.items] == [3]
    assert queue.dropped == [0, 1, 2]


@pytest.mark.parametrize("rule", [Overflow.WAIT, Overflow.DROP_OLDEST, Overflow.LATEST])
def test_an_empty_queue_takes_even_what_is_larger_than_the_hold(rule: Overflow) -> None:
    assert decide(rule, 0.0, 500.0, Hold(amount=200, unit="ms")) is Decision.ACCEPT


def test_fail_refuses_what_is_larger_than_the_hold_even_when_empty() -> None:
    assert decide(Overflow.FAIL, 0.0, 500.0, Hold(amount=200, unit="ms")) is Decision.REFUSE


def test_a_flood_of_empty_frames_meets_the_bound() -> None:
    queue = Queue(Overflow.FAIL, Hold(amount=3, unit="ms"))
    decisions = [queue.offer(Item(number, 0.0)) for number in range(5)]
    assert decisions == [Decision.ACCEPT] * 3 + [Decision.REFUSE] * 2


def test_sizes_are_ms_of_sound_or_items() -> None:
    frame = SpeechFrame(turn=1, item_id="item", content_index=0, pcm=bytes(20 * BYTES_PER_MS))
    assert Hold(amount=200, unit="ms").size_of(frame) == 20.0
    assert Hold(amount=8, unit="items").size_of(frame) == 1.0


@pytest.mark.parametrize("amount", [0, -1, float("inf"), float("nan")])
def test_a_hold_without_a_bound_is_refused(amount: float) -> None:
    with pytest.raises(ValueError, match=r"Hold\.amount"):
        Hold(amount=amount, unit="ms")


def test_half_an_item_is_refused() -> None:
    with pytest.raises(ValueError, match="whole number"):
        Hold(amount=1.5, unit="items")
