"""One simulated run from its plan to its outcome."""

import io
import time
from collections.abc import Callable, Sequence
from contextlib import redirect_stderr, redirect_stdout
from typing import Final

import msgspec
import trio

from pipeline.proving import determinism
from pipeline.proving import happenings as hp
from pipeline.proving.invariants import INVARIANTS, Violation
from pipeline.proving.judges import Bench
from pipeline.proving.nemeses import Strike, schedule, unleash
from pipeline.proving.simulated_devices import Utterance
from pipeline.proving.world import Plan, World, talk

TOLD_EVERY_S: Final = 600.0
"""Simulated s between two reports of progress."""

Progress = Callable[[float], None]


class Outcome(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run.

    Attributes:
        plan: the run.
        hash: of its trace.
        turns: replies that were heard.
        utterances: spoken by somebody.
        reconnects: sessions after the first.
        faults: how often each nemesis struck.
        frames: by fate, as the daemon counts them.
        cpu_s: what it cost.
        broken: how often each invariant did not hold.
        tried: how often each was put to the test.
        violations: the first of them.
        recent: the last happenings with their times.
    """

    plan: Plan
    hash: str
    turns: int
    utterances: int
    reconnects: int
    faults: dict[str, int]
    frames: dict[str, int]
    cpu_s: float
    broken: dict[str, int]
    tried: dict[str, int]
    violations: list[Violation]
    recent: list[tuple[float, hp.Happening]]

    @property
    def failures(self) -> list[Violation]:
        """Violations of what is not known to be missing."""
        return [each for each in self.violations if not INVARIANTS[each.invariant].missing]


def simulate(plan: Plan, progress: Progress = lambda _now: None) -> Outcome:
    """Run it; `progress` is told now and then how far it is (simulated s)."""
    script = talk(plan)
    return play(plan, script, schedule(plan, script), progress=progress)


def play(
    plan: Plan,
    script: Sequence[Utterance],
    strikes: Sequence[Strike],
    *,
    prepare: Callable[[World], None] = lambda _world: None,
    progress: Progress = lambda _now: None,
) -> Outcome:
    """Run this script with these strikes.

    Args:
        plan: its seed, length and devices count here.
        script: who speaks when.
        strikes: which nemesis when.
        prepare: may change the world before it begins.
        progress: as `simulate`.
    """
    began_s = time.process_time()
    run = _Run(plan, script, prepare, progress)
    ear = _Ear(lambda text: run.bench.line.search(text, 0.0))
    with redirect_stdout(ear), redirect_stderr(ear):
        world = determinism.run(lambda: run.live(strikes), seed=plan.seed)
    verdict, counts = run.bench.verdict, world.trace.counts
    return Outcome(
        plan=plan,
        hash=world.trace.hash,
        turns=len(run.replies),
        utterances=len(script),
        reconnects=max(0, counts["Upgraded"] - counts["Twinned"] - 1),
        faults=run.faults,
        frames=world.books,
        cpu_s=round(time.process_time() - began_s, 3),
        broken=dict(sorted(verdict.broken.items())),
        tried=dict(sorted(verdict.tried.items())),
        violations=verdict.violations,
        recent=list(world.trace.recent),
    )


class _Run:
    """One run while it lasts.

    It ends soon after a failure: what a broken daemon does next says nothing new.

    Attributes:
        bench: the judges.
        replies: those that sounded.
        faults: nemeses by name.
    """

    AFTER_S = 15.0  # so much of what follows a failure is still watched

    def __init__(
        self, plan: Plan, script: Sequence[Utterance], prepare: Callable[[World], None], progress: Progress
    ) -> None:
        self.replies: set[int] = set()
        self.faults: dict[str, int] = {}
        self._plan = plan
        self._progress = progress
        self._scope = trio.CancelScope()
        self._world = World(plan, script, self._take)
        self.bench = Bench(plan.frame_ms, self._world.settings.audio.fade_ms)
        self._oracle, self._violations, self._known = self.bench.oracle, self.bench.verdict.violations, 0
        prepare(self._world)

    async def live(self, strikes: Sequence[Strike]) -> World:
        """From beginning to end."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(unleash, self._world, strikes)
            nursery.start_soon(self._tell)
            with self._scope:
                await self._world.live()
            nursery.cancel_scope.cancel()
        if not self._scope.cancelled_caught:
            self.bench.close(self._world.books, trio.current_time())
        return self._world

    def _take(self, happening: hp.Happening, now: float) -> None:
        match happening:
            case hp.Played(reply=reply):
                self.replies.add(reply)
            case hp.Troubled(nemesis=nemesis):
                self.faults[nemesis] = self.faults.get(nemesis, 0) + 1
        self._oracle.take(happening, now)
        if len(self._violations) > self._known:
            fresh, self._known = self._violations[self._known :], len(self._violations)
            if any(not INVARIANTS[each.invariant].missing for each in fresh):
                self._scope.deadline = min(self._scope.deadline, now + self.AFTER_S)

    async def _tell(self) -> None:
        while True:
            await trio.sleep(TOLD_EVERY_S)
            self._progress(trio.current_time())


class _Ear(io.TextIOBase):
    """Hears what is printed."""

    def __init__(self, search: Callable[[str], None]) -> None:
        self._search = search

    def write(self, text: str) -> int:
        """Look through it and keep nothing."""
        self._search(text)
        return len(text)
