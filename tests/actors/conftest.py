"""Links for the actors under test, and a guard that ends a test whose actor waits for ever."""

import json
from collections.abc import AsyncGenerator, Callable
from typing import Any

import pytest
import trio

from pipeline.core.overflow import Hold, Overflow
from pipeline.edges.simulated import SimulatedConnector, SimulatedPeer
from pipeline.realtime.codec import encode
from pipeline.realtime.events import Event
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


class Service:
    """The other end of every socket the endpoint opens, in the order of opening; reads unless `reading` is unset."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self.connector = SimulatedConnector()
        self.wires: list[Wire] = []
        self.reading = trio.Event()
        self.reading.set()
        self._nursery = nursery
        nursery.start_soon(self._accept)

    async def _accept(self) -> None:
        async for peer in self.connector.arrivals:
            self.wires.append(Wire(peer))
            self._nursery.start_soon(self._read, self.wires[-1])

    async def _read(self, wire: "Wire") -> None:
        try:
            while True:
                await self.reading.wait()
                wire.sent.append(json.loads(await wire.peer.receive()))
        except (trio.EndOfChannel, trio.ClosedResourceError):
            wire.closed = True


class Wire:
    """One socket, seen from the service."""

    def __init__(self, peer: SimulatedPeer) -> None:
        self.peer = peer
        self.sent: list[dict[str, Any]] = []
        self.closed = False

    async def say(self, *messages: Event | str) -> None:
        for message in messages:
            await self.peer.send(message if isinstance(message, str) else encode(message))
        await trio.sleep(0.1)

    def types(self) -> list[str]:
        return [event["type"] for event in self.sent]


@pytest.fixture
def realtime(actors: trio.Nursery) -> Service:
    return Service(actors)
