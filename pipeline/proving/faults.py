"""The faults in use: one list for all connections, replaced while they run."""

from collections.abc import Sequence
from random import Random

import trio
from msgspec import UNSET

from pipeline.proving.catalogue import Toxic
from pipeline.proving.handshakes import Handshake
from pipeline.proving.toxics import Down


class Faults:
    """The toxics of all connections, in order; replacing them is seen by every connection at once."""

    def __init__(self, toxics: Sequence[Toxic] = ()) -> None:
        self.toxics: Sequence[Toxic] = ()
        self.changed = trio.Event()
        """Set, and replaced by a fresh one, whenever the toxics are replaced."""
        self._turnstiles: list[_Turnstile] = []
        self.use(toxics)

    def use(self, toxics: Sequence[Toxic]) -> None:
        """Replace the toxics; those that are equal to one before go on with their counts."""
        self.toxics = tuple(toxics)
        before, self._turnstiles = self._turnstiles, []
        for toxic in self.toxics:
            if isinstance(toxic, Handshake):
                kept = next((old for old in before if old.toxic == toxic), None)
                if kept:
                    before.remove(kept)
                self._turnstiles.append(kept or _Turnstile(toxic))
        self.changed.set()
        self.changed = trio.Event()

    @property
    def down(self) -> bool:
        """Whether nobody may be reached at all."""
        return any(isinstance(toxic, Down) for toxic in self.toxics)

    def meet(self, dice: Random) -> Handshake | None:
        """The fault that a connection which begins now meets; it counts for that one only."""
        return next((turnstile.toxic for turnstile in self._turnstiles if turnstile.takes(dice)), None)


class _Turnstile:
    """What one handshake toxic has counted."""

    def __init__(self, toxic: Handshake) -> None:
        self.toxic = toxic
        self._came = 0
        self._taken = 0

    def takes(self, dice: Random) -> bool:
        """Whether the connection that comes now meets the toxic."""
        self._came += 1
        used_up = self.toxic.times is not UNSET and self._taken >= self.toxic.times
        taken = not used_up and self._came % self.toxic.every == 0 and dice.random() < self.toxic.probability
        self._taken += taken
        return taken
