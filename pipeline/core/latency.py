"""How long one answer took: the marks of its timeline, and the percentiles of many."""

from collections.abc import Sequence
from enum import StrEnum
from math import floor


class Mark(StrEnum):
    """What happens between the user's last sample and the answer's first, in this order (design §9)."""

    SPEECH_STOPPED = "speech_stopped"
    COMMITTED = "committed"
    RESPONSE_CREATED = "response_created"
    FIRST_DELTA = "first_delta"
    FIRST_AUDIBLE_SAMPLE = "first_audible_sample"


class Timeline:
    """The marks of one answer, on the host clock. The first of each kind counts; they may come in any order."""

    def __init__(self) -> None:
        self._last_speech_s: float | None = None
        self._marks: dict[Mark, float] = {}

    def speech_ended(self, at_s: float) -> None:
        """The last speech sample passed: zero of the timeline."""
        if self._last_speech_s is None:
            self._last_speech_s = at_s

    def mark(self, mark: Mark, at_s: float) -> None:
        """Something happened."""
        self._marks.setdefault(mark, at_s)

    def timeline_ms(self) -> dict[str, float]:
        """Every mark in ms from the last speech sample, in the order of `Mark`; empty while that sample is unknown.

        A mark that did not happen is absent. One may be negative: the service can take a pause for the end.
        """
        if self._last_speech_s is None:
            return {}
        return {mark.value: (self._marks[mark] - self._last_speech_s) * 1000 for mark in Mark if mark in self._marks}


def percentile(values: Sequence[float], percent: float) -> float:
    """The value below which `percent` of `values` lie, interpolated linearly between ranks (Hyndman and Fan, type 7).

    So the 50th is the ordinary median, and p95 of ten runs is not simply the worst of them.

    Raises:
        ValueError: no values, or percent outside 0 to 100.
    """
    if not values:
        raise ValueError("a percentile needs at least one value")
    if not 0 <= percent <= 100:
        raise ValueError(f"percent must be 0 to 100, not {percent}")
    ordered = sorted(values)
    rank = (len(ordered) - 1) * percent / 100
    below = floor(rank)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (rank - below)
