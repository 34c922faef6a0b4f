"""One suite for the real WebSocket (over memory streams) and its simulated twin: what `edges.interfaces` promises."""

from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import NamedTuple

import pytest
import trio
import trio.testing
from trio_websocket import ConnectionClosed, wrap_server_stream

from pipeline.edges.interfaces import Connector
from pipeline.edges.simulated import SimulatedConnector
from pipeline.edges.websocket import WebSocketConnector
from pipeline.vocabulary.errors import ConnectionLostError
from pipeline.vocabulary.settings import ServiceSettings
from pipeline.vocabulary.signals import Secret

SECRET = Secret("ek_canary_7f3a")


class FarEnd(NamedTuple):
    """The service's end of a line. `receive` gives None when the endpoint left."""

    receive: Callable[[], Awaitable[str | None]]
    send: Callable[[str], Awaitable[None]]
    cut: Callable[[], Awaitable[None]]


class World(NamedTuple):
    connector: Connector
    arrival: Callable[[], Awaitable[FarEnd]]


def real(nursery: trio.Nursery) -> World:
    announce, arrivals = trio.open_memory_channel[FarEnd](4)

    async def serve(stream: trio.abc.Stream) -> None:
        request = await wrap_server_stream(nursery, stream)
        line = await request.accept()

        async def receive() -> str | None:
            try:
                return str(await line.get_message())
            except ConnectionClosed:
                return None

        await announce.send(FarEnd(receive, line.send_message, partial(trio.aclose_forcefully, stream)))

    async def open_stream(_host: str, _port: int) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(serve, theirs)
        return ours

    service = ServiceSettings(url="ws://[::1]/", connect_deadline_s=10, configure_deadline_s=10, close_deadline_s=1)
    return World(WebSocketConnector(service, "m", open_stream=open_stream), arrivals.receive)


def simulated(_nursery: trio.Nursery) -> World:
    connector = SimulatedConnector()

    async def arrival() -> FarEnd:
        peer = await connector.arrivals.receive()
        assert peer.secret == SECRET

        async def receive() -> str | None:
            try:
                return await peer.receive()
            except trio.EndOfChannel:
                return None

        async def cut() -> None:
            peer.drop(ConnectionLostError("cut", cause="close_1006"))

        return FarEnd(receive, peer.send, cut)

    return World(connector, arrival)


@pytest.fixture(params=[real, simulated])
async def world(request: pytest.FixtureRequest, nursery: trio.Nursery) -> AsyncIterator[World]:
    yield request.param(nursery)
    nursery.cancel_scope.cancel()


async def test_messages_keep_their_order_both_ways(autojump_clock: trio.testing.MockClock, world: World) -> None:
    async with world.connector.connect(SECRET) as line:
        far = await world.arrival()
        for number in range(50):
            await line.send(f"up {number}")
            await far.send(f"down {number}")
        assert [await far.receive() for _ in range(50)] == [f"up {number}" for number in range(50)]
        assert [await line.receive() for _ in range(50)] == [f"down {number}" for number in range(50)]
        await line.ping()
    assert await far.receive() is None


async def test_a_cut_line_says_so_to_whoever_waits_and_to_whoever_comes(
    autojump_clock: trio.testing.MockClock, world: World
) -> None:
    start_s = trio.current_time()
    async with world.connector.connect(SECRET) as line:
        far = await world.arrival()
        await far.send("last words")
        async with trio.open_nursery() as nursery:

            async def wait() -> None:
                assert await line.receive() == "last words"
                with pytest.raises(ConnectionLostError):
                    await line.receive()

            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            await far.cut()
        for use in (line.receive, line.ping, partial(line.send, "x")):
            with pytest.raises(ConnectionLostError) as caught:
                await use()
            assert caught.value.cause == "close_1006"
    assert trio.current_time() == start_s


async def test_a_cancelled_send_arrives_whole_and_the_cancellation_too(
    autojump_clock: trio.testing.MockClock, world: World
) -> None:
    async with world.connector.connect(SECRET) as line:
        far = await world.arrival()
        with trio.CancelScope() as scope:
            scope.cancel()
            await line.send("whole")
        assert scope.cancelled_caught
        assert await far.receive() == "whole"


async def test_two_lines_live_side_by_side(autojump_clock: trio.testing.MockClock, world: World) -> None:
    async with world.connector.connect(SECRET) as first:
        far_first = await world.arrival()
        async with world.connector.connect(SECRET) as second:
            far_second = await world.arrival()
            await second.send("two")
            await first.send("one")
            assert await far_first.receive() == "one"
            assert await far_second.receive() == "two"
        assert await far_second.receive() is None
        await first.ping()
