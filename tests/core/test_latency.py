"""The timeline of an answer, and percentiles against the standard library."""

import statistics

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.core.latency import Mark, Timeline, percentile

VALUES = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=50)


def test_marks_are_counted_from_the_last_speech_sample_in_the_order_of_the_design() -> None:
    timeline = Timeline()
    timeline.mark(Mark.FIRST_AUDIBLE_SAMPLE, 10.75)
    timeline.mark(Mark.SPEECH_STOPPED, 10.5)
    timeline.mark(Mark.COMMITTED, 10.5)
    timeline.mark(Mark.RESPONSE_CREATED, 10.625)
    timeline.mark(Mark.FIRST_DELTA, 10.6875)
    timeline.speech_ended(10.0)
    assert list(timeline.timeline_ms().items()) == [
        ("speech_stopped", 500.0),
        ("committed", 500.0),
        ("response_created", 625.0),
        ("first_delta", 687.5),
        ("first_audible_sample", 750.0),
    ]


def test_the_first_mark_of_a_kind_wins() -> None:
    timeline = Timeline()
    timeline.speech_ended(1.0)
    timeline.speech_ended(2.0)
    timeline.mark(Mark.FIRST_DELTA, 3.0)
    timeline.mark(Mark.FIRST_DELTA, 4.0)
    assert timeline.timeline_ms() == {"first_delta": 2000.0}


def test_without_the_last_speech_sample_there_is_no_timeline() -> None:
    timeline = Timeline()
    timeline.mark(Mark.FIRST_DELTA, 3.0)
    assert timeline.timeline_ms() == {}


@given(values=VALUES, percent=st.floats(0, 100))
def test_percentiles_are_those_of_numpy(values: list[float], percent: float) -> None:
    assert percentile(values, percent) == pytest.approx(float(np.percentile(values, percent)), abs=1e-6)


@given(values=VALUES)
def test_the_50th_is_the_median_and_the_ends_are_the_extremes(values: list[float]) -> None:
    assert percentile(values, 50) == pytest.approx(statistics.median(values), abs=1e-6)
    assert (percentile(values, 0), percentile(values, 100)) == (min(values), max(values))


def test_nonsense_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        percentile([], 50)
    with pytest.raises(ValueError, match="0 to 100"):
        percentile([1.0], 101)
