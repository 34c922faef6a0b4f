"""One connection through the relay: two pumps, one for each direction, and a watch over them.

The watch ends the connection when the clock, a change of toxics or a person says so.
"""

import math
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import trio
from msgspec import Struct
from trio.abc import HalfCloseableStream

from pipeline.proving.catalogue import Toxic
from pipeline.proving.faults import Faults
from pipeline.proving.handshakes import Handshake, Impersonation
from pipeline.proving.lane import Lane
from pipeline.proving.toxics import Ending, Parcel, Way

READ_BYTES: Final = 65_536
"""Taken from a socket at once."""


class Statistics(Struct):
    """What went through, since the relay began. Bytes are counted where they are delivered."""

    connections: int = 0
    open: int = 0
    refused: int = 0
    reset: int = 0
    handshake_faults: int = 0
    up_bytes: int = 0
    down_bytes: int = 0


class _Side:
    """One stream, and whether writing to it has shown that its peer is gone: then the end of its bytes is a reset."""

    def __init__(self, stream: HalfCloseableStream) -> None:
        self.stream = stream
        self.broken = False


class Connection:
    """A client's stream, the server's (or an impostor's) and the toxics between them.

    Args:
        client: the stream of who connected.
        upstream: the stream to whom it wanted, or to who stands there instead.
        faults: the toxics of all connections.
        statistics: counted up for each byte delivered.
        seed: of this connection's dice.
        handshake: the fault it met as it began.
    """

    def __init__(
        self,
        client: HalfCloseableStream,
        upstream: HalfCloseableStream,
        faults: Faults,
        statistics: Statistics,
        *,
        seed: str,
        handshake: Handshake | None = None,
    ) -> None:
        self.begun_s = trio.current_time()
        near, far = self._sides = _Side(client), _Side(upstream)
        self._up = _Pump("up", near, far, faults, statistics, Lane("up", seed=f"{seed}/up", handshake=handshake))
        self._down = _Pump(
            "down", far, near, faults, statistics, Lane("down", seed=f"{seed}/down", handshake=handshake)
        )
        self._faults = faults
        self._handshake = handshake
        self._ending = Ending.CLOSE
        self._scope = trio.CancelScope()

    @property
    def up_bytes(self) -> int:
        """Delivered to the server."""
        return self._up.delivered_bytes

    @property
    def down_bytes(self) -> int:
        """Delivered to the client."""
        return self._down.delivered_bytes

    @property
    def toxics(self) -> list[Toxic]:
        """Those that work on it, in order."""
        return [toxic for toxic in self._faults.toxics if self._up.lane.meets(toxic)]

    def cut(self) -> None:
        """Reset it."""
        self._end(Ending.RESET)

    async def carry(self) -> Ending:
        """Carry bytes both ways under the toxics until the connection ends; both streams are closed then.

        Returns CLOSE, or RESET if either side, a toxic or somebody cut it.
        """
        try:
            with self._scope:
                async with trio.open_nursery() as watching:
                    watching.start_soon(self._watch)
                    async with trio.open_nursery() as pumping:
                        for pump in (self._up, self._down):
                            pumping.start_soon(self._run, pump)
                    watching.cancel_scope.cancel()
        finally:
            with trio.CancelScope(shield=True):  # else a cancelled relay would close the first side only
                for side in self._sides:
                    await (reset if self._ending is Ending.RESET else trio.aclose_forcefully)(side.stream)
        return self._ending

    async def _run(self, pump: "_Pump") -> None:
        ending = await pump.run()
        if ending in {Ending.CLOSE, Ending.RESET}:
            self._end(ending)

    async def _watch(self) -> None:
        while True:
            changed = self._faults.changed
            for pump in (self._up, self._down):
                pump.lane.use(self._faults.toxics, trio.current_time())
            at_s, ending = min(self._cuts(), default=(math.inf, Ending.CLOSE), key=lambda cut: cut[0])
            with trio.move_on_at(at_s):
                await changed.wait()
                continue
            self._end(ending)
            return

    def _cuts(self) -> Iterator[tuple[float, Ending]]:
        if isinstance(self._handshake, Impersonation) and self._handshake not in self._faults.toxics:
            yield -math.inf, Ending.RESET  # the line is well again, and this client still talks to an impostor
        for pump in (self._up, self._down):
            yield from pump.lane.cuts
            if pump.lane.torn:
                yield -math.inf, Ending.RESET

    def _end(self, ending: Ending) -> None:
        if not self._scope.cancel_called:
            self._ending = ending
            self._scope.cancel()


class _Pump:
    """One direction of one connection: a task that takes from the source, and one that gives when the moment has come.

    What lies between them is bounded by the lane's window.
    """

    def __init__(
        self, way: Way, source: _Side, destination: _Side, faults: Faults, statistics: Statistics, lane: Lane
    ) -> None:
        self.lane = lane
        self.delivered_bytes = 0
        self._way = way
        self._source = source
        self._destination = destination
        self._faults = faults
        self._statistics = statistics
        self._under_way_bytes = 0
        self._given = trio.Event()
        self._put, self._parcels = trio.open_memory_channel[Parcel](math.inf)

    async def run(self) -> Ending:
        """Pump to the end of this direction and tell how it ended."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._take)
            ending = await self._give()
            nursery.cancel_scope.cancel()
        return ending

    async def _take(self) -> None:
        ending = None
        while ending is None:
            data, ending = await self._read(await self._room_bytes())
            now = trio.current_time()
            self.lane.use(self._faults.toxics, now)
            for parcel in self.lane.feed(Parcel(now, data, ending)):
                self._under_way_bytes += len(parcel.data)
                self._put.send_nowait(parcel)

    async def _read(self, limit_bytes: int) -> tuple[bytes, Ending | None]:
        try:
            data = bytes(await self._source.stream.receive_some(limit_bytes))
        except trio.BrokenResourceError:
            return b"", Ending.RESET
        if data:
            return data, None
        return b"", Ending.RESET if self._source.broken else Ending.FINISH

    async def _room_bytes(self) -> int:
        """How much may be taken; waits while that is nothing."""
        while True:
            await self._flow()
            room_bytes = self.lane.window_bytes - self._under_way_bytes
            if room_bytes > 0:
                return min(room_bytes, READ_BYTES)
            await self._given.wait()

    async def _give(self) -> Ending:
        async for parcel in self._parcels:
            await trio.sleep_until(parcel.at_s)
            await self._flow()
            await self._deliver(parcel)
            self._under_way_bytes -= len(parcel.data)
            self._given.set()
            self._given = trio.Event()
            if parcel.ending:
                return parcel.ending
        raise AssertionError("the channel is never closed")

    async def _flow(self) -> None:
        """Wait while the direction is stalled."""
        while True:
            changed = self._faults.changed
            self.lane.use(self._faults.toxics, trio.current_time())
            if not self.lane.stalled:
                return
            await changed.wait()

    async def _deliver(self, parcel: Parcel) -> None:
        """A destination that is gone is noticed by the pump that reads from it, and told through that one's toxics."""
        try:
            if parcel.data:
                await self._destination.stream.send_all(parcel.data)
                self.delivered_bytes += len(parcel.data)
                if self._way == "up":
                    self._statistics.up_bytes += len(parcel.data)
                else:
                    self._statistics.down_bytes += len(parcel.data)
            if parcel.ending is Ending.FINISH:
                await self._destination.stream.send_eof()
        except trio.BrokenResourceError:
            self._destination.broken = True


async def reset(stream: HalfCloseableStream) -> None:
    """Close so that the peer's kernel reports a reset (SO_LINGER of 0, socket(7)); what is not sent yet is lost."""
    if isinstance(stream, trio.SocketStream):
        with suppress(OSError):  # already gone
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await trio.aclose_forcefully(stream)
