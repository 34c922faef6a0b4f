"""A connection whose ways can be shut."""

import anyio
import anyio.abc
import pytest
import trio
import trio.testing

from pipeline.server.gate import GatedStream


class Wire(anyio.abc.ByteStream):
    """A connection on which `arriving` comes in, piece by piece, and `sent` has gone out."""

    def __init__(self, *arriving: bytes) -> None:
        self.arriving = list(arriving)
        self.sent: list[bytes] = []
        self.ended = self.closed = False

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        await trio.lowlevel.checkpoint()
        if self.closed:
            raise anyio.ClosedResourceError
        return self.arriving.pop(0)[:max_bytes]

    async def send(self, item: bytes) -> None:
        self.sent.append(item)

    async def send_eof(self) -> None:
        self.ended = True

    async def aclose(self) -> None:
        self.closed = True


async def test_open_it_hands_everything_on() -> None:
    wire = Wire(b"in")
    gated = GatedStream(wire)
    await gated.send(b"out")
    await gated.send_eof()
    assert (await gated.receive(), wire.sent, wire.ended) == (b"in", [b"out"], True)
    assert gated.extra_attributes == wire.extra_attributes


async def test_what_is_said_while_it_is_shut_is_lost() -> None:
    wire = Wire()
    gated = GatedStream(wire)
    gated.set(hears=True, speaks=False)
    await gated.send(b"lost")
    gated.set(hears=True, speaks=True)
    await gated.send(b"out")
    assert wire.sent == [b"out"]


async def test_what_comes_while_it_is_shut_waits(autojump_clock: trio.testing.MockClock) -> None:
    gated = GatedStream(Wire(b"in"))
    gated.set(hears=False, speaks=True)
    gated.set(hears=False, speaks=True)  # twice changes nothing
    got: list[bytes] = []

    async def read() -> None:
        got.append(await gated.receive())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await trio.sleep(3600)
        assert got == []
        gated.set(hears=True, speaks=True)
    assert got == [b"in"]


async def test_closing_lets_a_reader_go_that_waits_at_the_gate() -> None:
    wire = Wire(b"in")
    gated = GatedStream(wire)
    gated.set(hears=False, speaks=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gated.receive)
        await trio.testing.wait_all_tasks_blocked()
        await gated.aclose()
    with pytest.raises(anyio.ClosedResourceError):
        await gated.receive()
