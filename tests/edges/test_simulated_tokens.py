import pytest
import trio
from trio.testing import MockClock

from pipeline.edges.interfaces import Minted
from pipeline.edges.simulated_tokens import ScriptedMint, ScriptedTokenSource
from pipeline.vocabulary.errors import ServiceBusyError
from pipeline.vocabulary.signals import Secret


async def test_the_script_is_played_on_the_clock(autojump_clock: MockClock) -> None:
    minted = Minted(Secret("ek_1"), 600.0)
    source = ScriptedTokenSource([ScriptedMint(ServiceBusyError("busy"), delay_s=2), ScriptedMint(minted, delay_s=5)])
    start_s = trio.current_time()
    with pytest.raises(ServiceBusyError):
        await source.mint()
    assert await source.mint() == minted
    assert trio.current_time() - start_s == 7
    assert source.asked_s == [start_s, start_s + 2]
    with pytest.raises(AssertionError, match="more mints"):
        await source.mint()
