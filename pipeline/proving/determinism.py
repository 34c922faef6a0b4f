"""One seed decides everything: which runnable task goes first, every die, and when the clock jumps.

This is the one place that reaches into trio's private scheduler; a test shows that a seed still reproduces.
"""

import gc
import math
import os
import random
from collections.abc import Awaitable, Callable
from typing import TypeVar

import trio
from trio._core import _run as scheduler
from trio.testing import MockClock

T = TypeVar("T")


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
    try:
        return trio.run(work, clock=_exact_clock())
    finally:
        if was_collecting:
            gc.enable()
        random.setstate(dice)
        scheduler._r.seed(os.urandom(8))  # noqa: SLF001
        scheduler._ALLOW_DETERMINISTIC_SCHEDULING = was_allowed  # type: ignore[misc]  # noqa: SLF001


def _exact_clock() -> MockClock:
    """A clock that jumps to the very deadline: by way of a difference it would often land a rounding error before."""
    clock = MockClock(autojump_threshold=0)

    def jump() -> None:
        deadline_s = scheduler.GLOBAL_RUN_CONTEXT.runner.deadlines.next_deadline()
        if clock._virtual_base < deadline_s < math.inf:  # noqa: SLF001 - see above
            clock._virtual_base = float(deadline_s)  # noqa: SLF001  equal deadlines may differ in type, and a hash sees it

    clock._autojump = jump  # type: ignore[method-assign]  # noqa: SLF001
    clock.current_time = lambda: clock._virtual_base  # type: ignore[method-assign]  # noqa: SLF001
    return clock
