"""Links for the actors under test, and a guard that ends a test whose actor waits for ever."""

from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
import trio

from pipeline.core.overflow import Hold, Overflow
from pipeline.runtime.floor import Floor
from pipeline.runtime.local_link import LocalLink, open_local_link


@pytest.fixture
def floor() -> Floor:
    return Floor()


@pytest.fixture
def link() -> Callable[[], LocalLink[Any]]:
    """A link that fails when full: a test never fills it unnoticed."""
    return lambda: open_local_link("test", Hold(10_000, "items"), Overflow.FAIL)


@pytest.fixture
async def actors() -> AsyncGenerator[trio.Nursery, None]:
    with trio.fail_after(600):
        async with trio.open_nursery() as nursery:
            yield nursery
            nursery.cancel_scope.cancel()
