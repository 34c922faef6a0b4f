"""One seed decides everything: which runnable task goes first, every die, and when the clock jumps.

This is the one place that reaches into trio's private scheduler; a test shows that a seed still reproduces.
"""

import gc
import heapq
import math
import os
import random
from collections.abc import Awaitable, Callable
from itertools import count
from typing import Final, TypeVar

import trio
from trio._core import _run as scheduler
from trio._core._mock_clock import MockClock  # by way of trio.testing pytest would come along, where it is installed

T = TypeVar("T")


class _Alarms:
    """What is to be called when; of two for the same moment the older one first."""

    def __init__(self) -> None:
        self._due: list[tuple[float, int, Callable[[], object]]] = []
        self._numbers = count()

    def add(self, when_s: float, ring: Callable[[], object]) -> None:
        """Call `ring` then."""
        heapq.heappush(self._due, (when_s, next(self._numbers), ring))

    def next_s(self) -> float:
        """When the next one rings."""
        return self._due[0][0] if self._due else math.inf

    def ring(self, now: float) -> None:
        """Call all that are due."""
        while self._due and self._due[0][0] <= now:
            heapq.heappop(self._due)[2]()


_ALARMS: Final = trio.lowlevel.RunVar[_Alarms]("alarms of the simulated world")


def at(when_s: float, ring: Callable[[], object]) -> None:
    """Call `ring` once, as soon as the clock of this run has come to `when_s` and nobody has anything to do.

    For what the world does all the time: a sleeping task would cost a cancel scope, an exception and a turn of the
    scheduler for each block of sound. `ring` may wake tasks and must not raise.
    """
    _ALARMS.get().add(when_s, ring)


def run(work: Callable[[], Awaitable[T]], *, seed: int) -> T:
    """Run `work` on a virtual clock that jumps to the next deadline whenever nobody has anything to do.

    The time of a run begins at 0. Nothing in it may wait for a thread, a socket or another process. Garbage is
    collected only where the caller does it, so that no finaliser runs at a moment the seed has not chosen.
    """
    dice, was_allowed = random.getstate(), scheduler._ALLOW_DETERMINISTIC_SCHEDULING  # noqa: SLF001 - see above
    was_collecting = gc.isenabled()
    scheduler._ALLOW_DETERMINISTIC_SCHEDULING = True  # type: ignore[misc]  # noqa: SLF001
    scheduler._r.seed(seed)  # noqa: SLF001
    random.seed(seed)  # trio-websocket draws the payload of its pings from it
    gc.disable()
    gc.freeze()  # what was there before is no garbage of this run, and looking through it takes as long as all the rest
    alarms = _Alarms()

    async def begin() -> T:
        _ALARMS.set(alarms)
        scheduler.GLOBAL_RUN_CONTEXT.runner.instruments = {}  # type: ignore[assignment]  # there are none; looking costs
        return await work()

    try:
        return trio.run(begin, clock=_exact_clock(alarms))
    finally:
        gc.unfreeze()
        if was_collecting:
            gc.enable()
        random.setstate(dice)
        scheduler._r.seed(os.urandom(8))  # noqa: SLF001
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = was_allowed  # type: ignore[misc]  # noqa: SLF001


def _exact_clock(alarms: _Alarms) -> MockClock:
    """A clock that jumps to the very moment of the next alarm or deadline, and wakes who waits for it at once.

    By way of a difference it would often land a rounding error before.
    """
    clock = MockClock(autojump_threshold=0)

    def jump() -> None:
        deadlines = scheduler.GLOBAL_RUN_CONTEXT.runner.deadlines
        next_s = min(deadlines.next_deadline(), alarms.next_s())
        if clock._virtual_base < next_s < math.inf:  # noqa: SLF001 - see above
            clock._virtual_base = float(next_s)  # noqa: SLF001  equal moments may differ in type, and a hash sees it
        alarms.ring(clock._virtual_base)  # noqa: SLF001
        deadlines.expire(clock._virtual_base)  # noqa: SLF001

    clock._autojump = jump  # type: ignore[method-assign]  # noqa: SLF001
    clock.current_time = lambda: clock._virtual_base  # type: ignore[method-assign]  # noqa: SLF001
    clock.deadline_to_sleep_time = lambda _: math.inf  # type: ignore[assignment,method-assign]  # it jumps
    return clock
