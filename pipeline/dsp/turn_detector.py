"""From speech probabilities to the moments when a turn begins and ends: the server's VAD and the local one. Pure.

Times are ms of sound heard since the stream began, never wall time: a source that stops sending stops this clock.
"""

from typing import Final, NamedTuple

HYSTERESIS: Final = 0.15
"""Silence is believed only this far below the threshold, so a probability that hovers there cannot end a word."""


class TurnStarted(NamedTuple):
    """Speech was detected; the turn begins at `start_ms`, prefix padding included."""

    start_ms: float


class TurnStopped(NamedTuple):
    """Silence lasted long enough; the turn ends at `end_ms`, the last `silence_ms` of silence included."""

    end_ms: float
    silence_ms: float


class TurnDetector:
    """Endpointing of one stream.

    Args:
        threshold: probability from which on sound is speech, 0 to 1.
        prefix_padding_ms: sound before the detection that belongs to the turn.
        silence_duration_ms: silence that ends the turn.
        origin_ms: where on the session's clock the first hop begins; a turn never starts before it.

    Attributes:
        prefix_padding_ms: as given.
        heard_ms: where on the session's clock the next hop begins.
        silence_ms: how long the user has paused, in a turn.
        in_turn: a turn is under way.
    """

    def __init__(
        self, *, threshold: float, prefix_padding_ms: float, silence_duration_ms: float, origin_ms: float
    ) -> None:
        self._threshold = threshold
        self._silence_below = max(threshold - HYSTERESIS, threshold / 2)  # stays reachable for tiny thresholds
        self.prefix_padding_ms = prefix_padding_ms
        self._silence_duration_ms = silence_duration_ms
        self._origin_ms = origin_ms
        self.heard_ms = origin_ms
        self.silence_ms = 0.0
        self.in_turn = False

    def hear(self, probability: float, hop_ms: float) -> TurnStarted | TurnStopped | None:
        """Take the probability of the next `hop_ms` of sound."""
        hop_start_ms = self.heard_ms
        self.heard_ms += hop_ms
        if probability >= self._threshold:
            self.silence_ms = 0.0
            if self.in_turn:
                return None
            self.in_turn = True
            return TurnStarted(max(self._origin_ms, hop_start_ms - self.prefix_padding_ms))
        if not self.in_turn:
            return None
        if self.silence_ms > 0 or probability < self._silence_below:
            self.silence_ms += hop_ms
        if self.silence_ms < self._silence_duration_ms:
            return None
        return self.stop()

    def stop(self) -> TurnStopped:
        """End the turn here, whatever was heard."""
        stopped = TurnStopped(self.heard_ms, self.silence_ms)
        self.in_turn = False
        self.silence_ms = 0.0
        self._origin_ms = self.heard_ms
        return stopped
