"""The oracle: reads the traces of devices, network, backend and service, and says which invariant broke, and when.

It believes nothing the daemon says about itself. Promises about time are obligations: kept if the awaited event comes
in time, broken if any later event finds them overdue.
"""

import heapq
import math
from collections import Counter
from collections.abc import Callable, Hashable
from itertools import count
from typing import Final

from pipeline.proving import happenings as hp
from pipeline.proving.invariants import INVARIANTS, Violation

KEPT: Final = 1_000
"""Violations remembered; one defect can break a promise thousands of times."""


class Obligations:
    """What is promised by when.

    Attributes:
        next_due_s: nothing is due before; `expire` need not be asked until then.
    """

    def __init__(self, broken: Callable[[str, float, str], None]) -> None:
        self.next_due_s = math.inf
        self._broken = broken
        self._due: list[tuple[float, int, str, Hashable, str]] = []
        self._open: dict[tuple[str, Hashable], int] = {}
        self._numbers = count()

    def owe(self, invariant: str, due_s: float, key: Hashable, text: str) -> None:
        """By `due_s` something has to be `paid` with this key. An older promise of the same kind is replaced."""
        number = next(self._numbers)
        self._open[invariant, key] = number
        heapq.heappush(self._due, (due_s, number, invariant, key, text))
        self.next_due_s = self._due[0][0]

    def pay(self, invariant: str, key: Hashable) -> None:
        """It has happened, or is no longer expected."""
        self._open.pop((invariant, key), None)

    def waive(self, *invariants: str) -> None:
        """Nothing of these kinds is expected any more."""
        for invariant, key in [each for each in self._open if each[0] in invariants]:
            del self._open[invariant, key]

    def expire(self, now: float) -> None:
        """Report what is overdue."""
        while self._due and self._due[0][0] < now:
            due_s, number, invariant, key, text = heapq.heappop(self._due)
            if self._open.get((invariant, key)) == number:
                del self._open[invariant, key]
                self._broken(invariant, due_s, text)
        self.next_due_s = self._due[0][0] if self._due else math.inf


class Verdict:
    """What an oracle has found.

    Attributes:
        violations: the first of them, in the order they were noticed.
        broken: how often each invariant broke.
        tried: how often each was put to the test.
    """

    def __init__(self) -> None:
        self.violations: list[Violation] = []
        self.broken: Counter[str] = Counter()
        self.tried: Counter[str] = Counter()
        self.owed = Obligations(self.violate)

    def violate(self, invariant: str, at_s: float, text: str) -> None:
        """It did not hold."""
        assert invariant in INVARIANTS, "only what was promised can be broken"
        self.broken[invariant] += 1
        if len(self.violations) < KEPT:
            self.violations.append(Violation(invariant, at_s, text))

    def demand(self, invariant: str, holds: bool, at_s: float, text: str, *values: object) -> None:  # noqa: FBT001  the claim itself
        """It must hold now; else it is told in `text` (as `str.format`), for which most claims have no need."""
        self.tried[invariant] += 1
        if not holds:
            self.violate(invariant, at_s, text.format(*values))

    def expect(self, invariant: str, due_s: float, key: Hashable, text: str) -> None:
        """Something must happen by `due_s`."""
        self.tried[invariant] += 1
        self.owed.owe(invariant, due_s, key, text)


class Oracle:
    """Hands every happening to the judges, each of which watches some of the invariants."""

    def __init__(self, verdict: Verdict, judges: "list[Judge]") -> None:
        self.verdict = verdict
        self._owed = verdict.owed
        self._handlers: dict[type[hp.Happening], list[Callable[[hp.Happening, float], None]]] = {
            kind: [] for kind in hp.KINDS
        }
        for judge in judges:
            for kind, handler in judge.handlers().items():
                self._handlers[kind].append(handler)

    def take(self, happening: hp.Happening, now: float) -> None:
        """It happened at `now`."""
        if now > self._owed.next_due_s:
            self._owed.expire(now)
        for handler in self._handlers[type(happening)]:
            handler(happening, now)


class Judge:
    """Watches some invariants. A method `_on_name` takes the happenings of class Name."""

    def __init__(self, verdict: Verdict) -> None:
        self.verdict = verdict
        self.demand = verdict.demand
        self.expect = verdict.expect
        self.owed = verdict.owed

    def handlers(self) -> dict[type[hp.Happening], Callable[[hp.Happening, float], None]]:
        """What it wants to be told."""
        return {
            kind: getattr(self, f"_on_{kind.__name__.lower()}")
            for kind in hp.KINDS
            if hasattr(self, f"_on_{kind.__name__.lower()}")
        }
