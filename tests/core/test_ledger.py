import math

from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.core.ledger import KEEP_S, Ledger
from pipeline.vocabulary.frames import EncodedFrame


def frame(seq: int, captured_s: float = 0.0) -> EncodedFrame:
    return EncodedFrame(seq, captured_s, "message", 20.0)


def test_a_frame_stays_until_it_was_sent_whole() -> None:
    ledger = Ledger()
    ledger.add(frame(0), 0.0)
    first = ledger.peek()
    assert first is not None
    assert ledger.peek() is first, "a send that failed is tried again with the same frame"
    ledger.sent(first)
    assert ledger.peek() is None
    assert ledger.books() == {"captured": 1, "sent": 1, "spooled": 0}


def test_a_ledger_that_starts_late_does_not_take_what_came_before_for_lost() -> None:
    ledger = Ledger()
    ledger.add(frame(424), 0.0)
    assert ledger.books() == {"captured": 1, "sent": 0, "spooled": 1}


def test_a_gap_in_the_numbers_was_dropped_by_the_microphone_link() -> None:
    ledger = Ledger()
    ledger.add(frame(0), 0.0)
    ledger.add(frame(4), 0.0)
    assert ledger.books() == {"captured": 5, "sent": 0, "spooled": 2, "dropped_mic_full": 3}


def test_a_restarted_capture_counts_from_zero_and_loses_nothing() -> None:
    ledger = Ledger()
    for seq in (0, 1, 0, 1):
        ledger.add(frame(seq), 0.0)
    assert ledger.books() == {"captured": 4, "sent": 0, "spooled": 4}


def test_speech_older_than_it_may_be_is_dropped_and_counted() -> None:
    ledger = Ledger()
    ledger.add(frame(0, captured_s=0.0), 0.0)
    ledger.add(frame(1, captured_s=1.0), 1.0)
    ledger.expire(KEEP_S + 0.5)
    assert ledger.peek() == frame(1, captured_s=1.0)
    assert ledger.books()["dropped_too_old"] == 1


def test_a_frame_that_ages_out_while_it_is_being_sent_was_sent() -> None:
    ledger = Ledger()
    ledger.add(frame(0), 0.0)
    sending = ledger.peek()
    assert sending is not None
    ledger.expire(KEEP_S + 1)
    ledger.sent(sending)
    assert ledger.books() == {"captured": 1, "sent": 1, "spooled": 0}


def test_what_waits_when_it_is_muted_is_dropped_and_so_is_what_was_captured_before_and_comes_late() -> None:
    ledger = Ledger()
    ledger.add(frame(0, captured_s=1.0), 1.1)
    ledger.discard(math.inf)
    ledger.add(frame(1, captured_s=1.02), 1.2)  # on its way through the links when it was muted
    assert ledger.peek() is None
    ledger.discard(2.0)
    ledger.add(frame(2, captured_s=1.99), 2.1)
    ledger.add(frame(3, captured_s=2.0), 2.1)
    assert ledger.peek() == frame(3, captured_s=2.0)
    assert ledger.books() == {"captured": 4, "sent": 0, "spooled": 1, "dropped_muted": 3}


def test_a_frame_that_is_muted_while_it_is_being_sent_was_sent_or_is_dropped() -> None:
    for is_whole in (True, False):
        ledger = Ledger()
        for seq in range(3):
            ledger.add(frame(seq), 0.0)
        sending = ledger.peek()
        assert sending is not None
        ledger.discard(math.inf)
        if is_whole:
            ledger.sent(sending)
        assert ledger.peek() is None, "a send that failed is not tried again"
        assert ledger.books() == {"captured": 3, "sent": is_whole, "spooled": 0, "dropped_muted": 3 - is_whole}


@settings(max_examples=100)
@given(st.lists(st.tuples(st.sampled_from(["add", "gap", "send", "wait", "mute"]), st.integers(1, 20))))
def test_captured_is_always_the_sum(steps: list[tuple[str, int]]) -> None:
    ledger, now, seq = Ledger(), 0.0, 0
    ledger.add(frame(0), now)
    for step, size in steps:
        sending = ledger.peek()
        if step == "wait":
            now += size
            ledger.expire(now)
        elif step == "mute":
            ledger.discard(now + size)
        elif step == "send" and sending is not None:
            ledger.sent(sending)
        elif step in {"add", "gap"}:
            seq += size + 1 if step == "gap" else 1
            ledger.add(frame(seq, now), now)
        books = ledger.books()
        assert books.pop("captured") == sum(books.values()) == seq + 1


def test_frames_of_speech_are_counted_whatever_becomes_of_them() -> None:
    ledger = Ledger(keep_s=1.0)
    for seq, speech in enumerate([False, True, True, False]):
        ledger.add(EncodedFrame(seq, seq * 10.0, "message", 20.0, speech=speech), seq * 10.0)
    assert ledger.speech_frames == 2
