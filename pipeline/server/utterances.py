"""Cuts a recording into utterances, as a session with server VAD would, so that each is recognised by itself. Pure."""

from collections.abc import Iterable
from typing import Final, NamedTuple

from pipeline.dsp.turn_detector import TurnDetector, TurnStarted, TurnStopped

THRESHOLD: Final = 0.5
PREFIX_PADDING_MS: Final = 300
SILENCE_DURATION_MS: Final = 500
LONG_MS: Final = 15_000
"""An utterance longer than this ends in the next gap between words, however short."""
MAX_MS: Final = 24_000
"""... and here without one: what recognisers learned on is not longer."""


class Span(NamedTuple):
    """Where an utterance lies in the recording, padding included but for the silence behind it."""

    start_ms: float
    end_ms: float


class Utterances:
    """The utterances of one recording, found as its probabilities of speech come in."""

    def __init__(self) -> None:
        self._detector = TurnDetector(
            threshold=THRESHOLD,
            prefix_padding_ms=PREFIX_PADDING_MS,
            silence_duration_ms=SILENCE_DURATION_MS,
            origin_ms=0,
        )
        self._start_ms = 0.0

    def hear(self, probabilities: Iterable[float], hop_ms: float) -> list[Span]:
        """Take the next hops; the utterances that end in them."""
        return [span for probability in probabilities if (span := self._hear(probability, hop_ms)) is not None]

    def rest(self) -> Span | None:
        """The utterance that the end of the recording ends."""
        return self._span(self._detector.stop()) if self._detector.in_turn else None

    def _hear(self, probability: float, hop_ms: float) -> Span | None:
        change = self._detector.hear(probability, hop_ms)
        match change:
            case TurnStarted(start_ms):
                self._start_ms = start_ms
            case TurnStopped():
                return self._span(change)
        duration_ms = self._detector.heard_ms - self._start_ms if self._detector.in_turn else 0
        if duration_ms > MAX_MS or (duration_ms > LONG_MS and probability < THRESHOLD):
            return self._span(self._detector.stop())
        return None

    def _span(self, stopped: TurnStopped) -> Span:
        return Span(self._start_ms, stopped.end_ms - stopped.silence_ms)
