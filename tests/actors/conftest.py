"""Links for the actors under test, and a guard that ends a test whose actor waits for ever."""

import json
import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from pipeline.core.overflow import Hold, Overflow
from pipeline.edges.interfaces import Connection
from pipeline.realtime.codec import encode
from pipeline.realtime.events import Event
from pipeline.runtime.floor import Floor
from pipeline.runtime.local_link import LocalLink, open_local_link
from pipeline.vocabulary.errors import WireError
from pipeline.vocabulary.signals import Secret


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


class Wire:
    """A service's end of one socket: what the endpoint sent, and a hand to answer with. Implements Connection."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []
        self.closed = False
        self.send_gate = trio.Event()
        self.send_gate.set()
        self._inbox_sender, self._inbox = trio.open_memory_channel[str](math.inf)
        self._lost: WireError | None = None

    def say(self, event: Event) -> None:
        self._inbox_sender.send_nowait(encode(event))

    def say_text(self, text: str) -> None:
        self._inbox_sender.send_nowait(text)

    def lose(self, error: WireError) -> None:
        self._lost = error
        self._inbox_sender.close()

    def types(self) -> list[str]:
        return [event["type"] for event in self.sent]

    async def send(self, text: str) -> None:
        await self.send_gate.wait()
        if self._lost is not None:
            raise self._lost
        self.sent.append(json.loads(text))

    async def receive(self) -> str:
        try:
            return await self._inbox.receive()
        except trio.EndOfChannel:
            assert self._lost is not None
            raise self._lost from None

    async def ping(self) -> None:
        await trio.lowlevel.checkpoint()


class ScriptedConnector:
    """Gives a fresh `Wire` for every connection, or the error that is next in `refusals`."""

    def __init__(self) -> None:
        self.refusals: list[WireError] = []
        self.wires: list[Wire] = []

    @asynccontextmanager
    async def connect(self, secret: Secret) -> AsyncGenerator[Connection, None]:
        assert secret.value
        await trio.lowlevel.checkpoint()
        if self.refusals:
            raise self.refusals.pop(0)
        wire = Wire()
        self.wires.append(wire)
        try:
            yield wire
        finally:
            wire.closed = True


@pytest.fixture
def connector() -> ScriptedConnector:
    return ScriptedConnector()
