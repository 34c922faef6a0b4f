"""Every async test of the runtime runs in virtual time."""

from collections.abc import Awaitable, Callable, Sequence
from inspect import iscoroutinefunction

import pytest
import trio
from trio.testing import MockClock


def run_in_virtual_time(
    main: Callable[[], Awaitable[None]], *, clock: trio.abc.Clock | None, instruments: Sequence[trio.abc.Instrument]
) -> None:
    assert clock is None, "this folder gives the clock"
    trio.run(main, clock=MockClock(autojump_threshold=0), instruments=instruments)


def pytest_itemcollected(item: pytest.Item) -> None:
    if isinstance(item, pytest.Function) and iscoroutinefunction(item.function):
        item.add_marker(pytest.mark.trio(run=run_in_virtual_time))
