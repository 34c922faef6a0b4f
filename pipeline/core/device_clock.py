"""The clock of a sound card, measured against the host's: which sample passes when, as a line that does not jitter.

A card tells with each block when it passes. These moments wobble by up to a period of the driver, wander by
milliseconds where a sound server guesses them, and drift, for the card's crystal runs some ppm fast or slow. A
first-order loop smooths them: the line follows the card, but a single late moment hardly moves it.
"""

from typing import Final

GAIN: Final = 0.01
"""Of a block's error that moves the line: with 20 ms blocks it follows within 2 s, a wobble of one period moves it by
0.2 ms, and 100 ppm of drift leave it 0.2 ms behind."""
SETTLING_MARKS: Final = 5
"""At its start a driver fills its buffer in one go, and guesses the times of what it asks for meanwhile."""
JUMP_S: Final = 0.1
"""A moment so far off the line is no wobble: the card lost time, or its server has learned better."""
STEP_MAX: Final = 0.25
"""Of a block's length: the line always goes forward, however wrong a moment is."""


class DeviceClock:
    """A line through (sample number, host clock); numbers count the samples of one channel and always grow."""

    def __init__(self, rate_hz: int) -> None:
        self._rate_hz = rate_hz
        self._marks = 0
        self._sample, self._at_s = 0, 0.0  # where the line is

    def mark(self, sample: int, at_s: float) -> None:
        """The card says that `sample` passes at `at_s` (host clock, s)."""
        assert sample > self._sample or self._marks == 0, "a device's blocks follow one another"
        error_s = self.error_s(sample, at_s)
        self._marks = self._marks + 1 if abs(error_s) < JUMP_S else 1
        if self._marks <= SETTLING_MARKS:
            self._sample, self._at_s = sample, at_s
            return
        longest_s = STEP_MAX * (sample - self._sample) / self._rate_hz
        gain = max(GAIN, 1 / (self._marks - SETTLING_MARKS + 1))  # at first the mean of all, so it settles soon
        step_s = min(max(gain * error_s, -longest_s), longest_s)
        self._sample, self._at_s = sample, self.at(sample) + step_s

    def restart(self) -> None:
        """The card has started anew, as after an xrun: the next marks begin another line."""
        self._marks = 0

    def error_s(self, sample: int, at_s: float) -> float:
        """How much later than the line `at_s` is, in s; zero while there is no line yet."""
        return at_s - self.at(sample) if self.has_settled else 0.0

    def at(self, sample: float) -> float:
        """Host clock when `sample` passes."""
        return self._at_s + (sample - self._sample) / self._rate_hz

    def sample(self, at_s: float) -> float:
        """Which sample passes at `at_s`."""
        return self._sample + (at_s - self._at_s) * self._rate_hz

    @property
    def has_settled(self) -> bool:
        """Whether `at` and `sample` mean something."""
        return self._marks >= SETTLING_MARKS
