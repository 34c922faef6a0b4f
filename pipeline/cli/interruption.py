"""Running one program under trio until it ends or a signal ends it."""

import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

import trio

from pipeline.cli import INTERRUPTED
from pipeline.runtime.clock import HostClock
from pipeline.vocabulary.errors import TalkwireError

Act = Callable[[], None]
GRACE_S = 4.0  # s between the first signal and the end by force; supervisors and people give five


def perform(work: Callable[[], Awaitable[None]], *, stop: Act | None = None, insist: Act | None = None) -> int:
    """Run `work` to its end; the exit code is 0, or 130 after SIGINT.

    The first SIGINT or SIGTERM calls `stop`, which asks `work` to end within 4 s; a second one, or no `stop`, ends it
    at once, and `insist` ends what could hold that up. What goes wrong while it is being stopped is not reported: it
    was told to end.

    Raises:
        TalkwireError: `work` raised it, alone or as the first of several at once.
    """
    return trio.run(_perform, work, stop, insist, clock=HostClock())


async def _perform(work: Callable[[], Awaitable[None]], stop: Act | None, insist: Act | None) -> int:
    told: list[int] = []
    try:
        with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(_obey, signals, told, stop, insist, nursery.cancel_scope)
                await work()
                nursery.cancel_scope.cancel()
    except BaseExceptionGroup as group:
        leaves = list(_leaves(group))
        if not all(isinstance(leaf, TalkwireError | KeyboardInterrupt | BrokenPipeError) for leaf in leaves):
            raise  # a defect: its traceback is wanted
        if not told:
            raise leaves[0] from None
    return INTERRUPTED if told[:1] == [signal.SIGINT] else 0


async def _obey(
    signals: AsyncIterator[int], told: list[int], stop: Act | None, insist: Act | None, scope: trio.CancelScope
) -> None:
    async for number in signals:
        told.append(number)
        if stop is None or len(told) > 1:
            scope.cancel()
            if insist is not None:
                insist()
        else:
            stop()
            scope.deadline = trio.current_time() + GRACE_S


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error
