from collections.abc import Callable
from functools import partial
from typing import Any

import trio
from trio.testing import MockClock

from pipeline.actors.credential import credential
from pipeline.edges.interfaces import Minted
from pipeline.edges.simulated_tokens import ScriptedMint, ScriptedTokenSource
from pipeline.runtime.local_link import LocalLink
from pipeline.vocabulary.errors import ServiceBusyError
from pipeline.vocabulary.signals import Secret, TokenAsk, TokenFailure, TokenGrant

Link = Callable[[], LocalLink[Any]]


async def test_a_grant_names_its_attempt_and_counts_its_life_from_the_asking(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    asks, tokens = link(), link()
    source = ScriptedTokenSource([ScriptedMint(Minted(Secret("ek"), 20.0), delay_s=3.0)])
    actors.start_soon(partial(credential, source=source), asks.receiver, tokens.sender)
    asked_s = trio.current_time()
    asks.sender.send_nowait(TokenAsk(5))
    assert await tokens.receiver.receive() == TokenGrant(5, Secret("ek"), asked_s + 20)
    assert trio.current_time() == asked_s + 3


async def test_a_failure_travels_as_a_value_and_the_next_ask_is_served(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    asks, tokens = link(), link()
    busy = ServiceBusyError("busy", cause="status_429", retry_after_s=9.0)
    source = ScriptedTokenSource([ScriptedMint(busy), ScriptedMint(Minted(Secret("ek"), 600.0))])
    actors.start_soon(partial(credential, source=source), asks.receiver, tokens.sender)
    asks.sender.send_nowait(TokenAsk(1))
    assert await tokens.receiver.receive() == TokenFailure(1, busy.fault())
    asks.sender.send_nowait(TokenAsk(2))
    assert (await tokens.receiver.receive()).attempt == 2


async def test_there_is_never_more_than_one_mint_under_way(
    autojump_clock: MockClock, actors: trio.Nursery, link: Link
) -> None:
    asks, tokens = link(), link()
    source = ScriptedTokenSource([ScriptedMint(Minted(Secret("ek"), 600.0), delay_s=1.0)] * 3)
    actors.start_soon(partial(credential, source=source), asks.receiver, tokens.sender)
    begun_s = trio.current_time()
    for attempt in (1, 2, 3):
        asks.sender.send_nowait(TokenAsk(attempt))
    for _ in range(3):
        await tokens.receiver.receive()
    assert [asked_s - begun_s for asked_s in source.asked_s] == [0, 1, 2]
