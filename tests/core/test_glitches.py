"""What a device's sound suffers is told at once, then some at a time, and none of it is forgotten."""

import pytest

from pipeline.core.glitches import TELL_S, GlitchTally, lost_sound
from pipeline.vocabulary.signals import NO_GLITCHES, Glitches

XRUN = Glitches(xruns=1, lost_ms=20.0)


def test_the_first_is_told_at_once_and_more_of_them_some_at_a_time() -> None:
    tally = GlitchTally()
    assert tally.add(NO_GLITCHES, 0.0) is None
    assert tally.add(XRUN, 0.02) == XRUN
    told = [tally.add(XRUN if number < 100 else NO_GLITCHES, 0.04 + 0.02 * number) for number in range(1_000)]
    [(place, glitches)] = [(place, each) for place, each in enumerate(told) if each is not None]
    assert glitches == Glitches(xruns=100, lost_ms=2_000.0)
    assert 0.02 + 0.02 * place == pytest.approx(TELL_S, abs=0.021)
    assert tally.add(XRUN, 60.0) == XRUN, "long after the last it is told at once again"


def test_a_device_that_closes_leaves_nothing_untold() -> None:
    tally = GlitchTally()
    assert tally.rest() is None
    tally.add(XRUN, 0.0)
    tally.add(XRUN, 1.0)
    assert tally.rest() == XRUN
    assert tally.rest() is None
    assert tally.add(NO_GLITCHES, 100.0) is None


@pytest.mark.parametrize(
    ("glitches", "words"),
    [
        (Glitches(xruns=3, starved=2), ""),
        (Glitches(xruns=1, lost_ms=40.4), "the microphone mic lost sound, 40 ms in the sound system: "),
        (Glitches(discarded_ms=360), "the microphone mic lost sound, 360 ms that came too late to be of use: "),
        (
            Glitches(lost_ms=40, discarded_ms=360),
            "the microphone mic lost sound, 40 ms in the sound system and 360 ms that came too late to be of use: ",
        ),
    ],
)
def test_a_person_is_told_what_was_lost_and_why(glitches: Glitches, words: str) -> None:
    why = "the machine stalled, or its sound server; is it too busy?"
    assert lost_sound("mic", glitches) == (words + why if words else "")
