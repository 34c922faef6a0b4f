"""Glitches on their way from who suffers them to who counts them: collected, and told some at a time."""

import math
from typing import Final

from pipeline.vocabulary.signals import NO_GLITCHES, Glitches

TELL_S: Final = 10.0
"""The first is told at once, more of them so often, or when the device closes or rests: a machine that is too slow has
no time to say so with each block, and the links of the session keep their room for what decides something."""


class GlitchTally:
    """Collects what befell one device's sound."""

    def __init__(self) -> None:
        self._untold = NO_GLITCHES
        self._told_s = -math.inf

    def add(self, glitches: Glitches, now: float) -> Glitches | None:
        """Take in what is new; what is to be told now (host clock, s)."""
        if glitches is not NO_GLITCHES:
            self._untold += glitches
        if self._untold is NO_GLITCHES or now - self._told_s < TELL_S:
            return None
        self._told_s = now
        return self.rest()

    def rest(self) -> Glitches | None:
        """What is left to be told; the device closes."""
        untold, self._untold = self._untold, NO_GLITCHES
        return None if untold is NO_GLITCHES else untold


def lost_sound(name: str, glitches: Glitches) -> str:
    """In words what a microphone lost; empty if its sound is whole."""
    losses = []
    if glitches.lost_ms:
        losses.append(f"{glitches.lost_ms:.0f} ms in the sound system")
    if glitches.discarded_ms:
        losses.append(f"{glitches.discarded_ms:.0f} ms that came too late to be of use")
    if not losses:
        return ""
    what = " and ".join(losses)
    return f"the microphone {name} lost sound, {what}: the machine stalled, or its sound server; is it too busy?"
