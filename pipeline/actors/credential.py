"""Credential: one client secret per connection attempt, one mint at a time."""

import trio

from pipeline.core.credential import usable_until_s
from pipeline.edges.interfaces import TokenSource
from pipeline.runtime.ports import Receiver, Sender
from pipeline.vocabulary.errors import WireError
from pipeline.vocabulary.signals import Token, TokenAsk, TokenFailure, TokenGrant


async def credential(asks: Receiver[TokenAsk], tokens: Sender[Token], *, source: TokenSource) -> None:
    """Mint for each ask; a newer ask replaces one that still waits, so there is never more than one mint under way."""
    async for ask in asks:
        asked_s = trio.current_time()
        try:
            minted = await source.mint()
        except WireError as error:
            await tokens.send(TokenFailure(ask.attempt, error.fault()))
        else:
            await tokens.send(TokenGrant(ask.attempt, minted.secret, usable_until_s(minted.life_s, asked_s)))
