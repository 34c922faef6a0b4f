"""One direction of one connection under its toxics: arithmetic on parcels, `now` is an argument."""

import math
from collections.abc import Iterator, Sequence
from random import Random
from typing import NamedTuple

from pipeline.proving.catalogue import Toxic
from pipeline.proving.handshakes import Handshake
from pipeline.proving.toxics import WINDOW_BYTES, Effect, Ending, Parcel, Way


class Lane:
    """One direction of one connection: the toxics that work on it, in order, and what they have counted so far.

    `handshake` is the fault the connection met as it began; no other of its kind touches it.

    Attributes:
        stalled: nothing may move.
        window_bytes: how much may be under way.
    """

    def __init__(self, way: Way, *, seed: str, handshake: Handshake | None = None) -> None:
        self.stalled = False
        self.window_bytes = WINDOW_BYTES
        self._way = way
        self._handshake = handshake
        self._dice = Random(seed)  # noqa: S311 - reproducible jitter, not a secret
        self._given: Sequence[Toxic] = ()
        self._working: list[_Working] = []
        self._last_s = -math.inf
        self._lost = False
        self._ended = False

    def use(self, toxics: Sequence[Toxic], now: float) -> None:
        """Work with these toxics from now on; one that was there before keeps its count, what is under way its fate."""
        if toxics is self._given:
            return
        self._given = toxics
        before, self._working = self._working, []
        for toxic in toxics:
            if self.meets(toxic) and toxic.touches(self._way):
                kept = next((old for old in before if old.toxic == toxic), None)
                if kept:
                    before.remove(kept)
                self._working.append(kept or _Working(toxic, now, toxic.effect(self._dice)))
        self.stalled = any(working.toxic.stalls for working in self._working)
        self.window_bytes = min((working.toxic.window_bytes for working in self._working), default=WINDOW_BYTES)

    def meets(self, toxic: Toxic) -> bool:
        """Whether the toxic has to do with this connection."""
        return not isinstance(toxic, Handshake) or toxic == self._handshake

    def feed(self, parcel: Parcel) -> list[Parcel]:
        """What becomes of a parcel; the moments never run backwards, and nothing follows an ending."""
        parcels = [parcel]
        for toxic, _, effect in self._working:
            self._lost |= toxic.swallows
            parcels = [done for each in parcels for done in effect(each)]
        return list(self._in_order(parcels))

    def _in_order(self, parcels: Sequence[Parcel]) -> Iterator[Parcel]:
        for parcel in parcels:
            if self._ended or self.torn:
                return
            self._ended = parcel.ending is not None
            self._last_s = max(self._last_s, parcel.at_s)
            yield parcel if parcel.at_s == self._last_s else parcel._replace(at_s=self._last_s)

    @property
    def torn(self) -> bool:
        """Whether bytes were lost and nothing swallows any more: what follows would not be the same stream."""
        return self._lost and not any(working.toxic.swallows for working in self._working)

    @property
    def cuts(self) -> Iterator[tuple[float, Ending]]:
        """When (s) and how the clock ends the connection."""
        for toxic, begun_s, _ in self._working:
            if toxic.cut:
                yield begun_s + toxic.cut.after_s, toxic.cut.ending


class _Working(NamedTuple):
    """A toxic at work on one lane."""

    toxic: Toxic
    begun_s: float
    effect: Effect
