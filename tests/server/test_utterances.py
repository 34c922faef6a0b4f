import pytest

from pipeline.server.utterances import LONG_MS, MAX_MS, Span, Utterances

HOP_MS = 100.0


def spans(*parts: tuple[float, int]) -> list[Span]:
    """The utterances in a recording of (probability, ms) parts."""
    utterances = Utterances()
    found = [span for probability, ms in parts for span in utterances.hear([probability] * round(ms / HOP_MS), HOP_MS)]
    rest = utterances.rest()
    return found if rest is None else [*found, rest]


def test_pauses_part_utterances_and_gaps_do_not() -> None:
    assert spans((0, 1_000), (0.9, 800), (0, 300), (0.9, 300), (0, 1_000), (0.9, 400), (0, 600)) == [
        Span(700, 2_400),
        Span(3_100, 3_800),
    ]


def test_the_end_of_the_recording_ends_the_last() -> None:
    assert spans((0.9, 800)) == [Span(0, 800)]
    assert spans((0, 800)) == []


def test_a_long_utterance_ends_in_the_next_gap() -> None:
    first, second = spans((0.9, LONG_MS + 1_000), (0.2, 100), (0.9, 3_000))
    assert first == Span(0, LONG_MS + 1_000)
    assert second == Span(LONG_MS + 1_100, LONG_MS + 4_100)


def test_one_without_gaps_is_cut_before_it_gets_too_long() -> None:
    found = spans((0.9, 60_000))
    assert all(span.end_ms - span.start_ms <= MAX_MS + HOP_MS for span in found)
    assert sum(span.end_ms - span.start_ms for span in found) == pytest.approx(60_000)
