"""A TCP relay on loopback that people put between their own client and server, with toxics that change while it runs.

It listens on 127.0.0.1 and speaks to this machine only: it is a test bench, not a way into a network. Per connection
there are two pumps, one for each direction, and a watch for what the clock or a change of toxics ends.
"""

import errno
import math
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Final, NamedTuple
from urllib.parse import urlsplit

import trio
from msgspec import Struct
from trio.abc import HalfCloseableStream

from pipeline.proving.toxics import Down, Ending, Lane, Parcel, Toxic, Way
from pipeline.vocabulary.addresses import is_loopback
from pipeline.vocabulary.errors import AlreadyRunningError, ConfigurationError, Problem

HOST: Final = "127.0.0.1"
MAX_CONNECTIONS: Final = 256
"""Two descriptors each, under the usual limit of 1,024; one more is reset."""
READ_BYTES: Final = 65_536
"""Taken from a socket at once."""
CONNECT_DEADLINE_S: Final = 10.0
"""For the upstream to accept; on this machine it takes less than a millisecond."""


class Upstream(NamedTuple):
    """Where the relay forwards to."""

    host: str
    port: int


class Statistics(Struct):
    """What went through, since the relay began. Bytes are counted where they are delivered."""

    connections: int = 0
    open: int = 0
    refused: int = 0
    reset: int = 0
    up_bytes: int = 0
    down_bytes: int = 0


class Faults:
    """The toxics of all connections, in order; replacing them is seen by every connection at once."""

    def __init__(self, toxics: Sequence[Toxic] = ()) -> None:
        self.toxics: Sequence[Toxic] = tuple(toxics)
        self.changed = trio.Event()
        """Set, and replaced by a fresh one, whenever the toxics are replaced."""

    def use(self, toxics: Sequence[Toxic]) -> None:
        """Replace the toxics; those that are equal to one before go on with their counts."""
        self.toxics = tuple(toxics)
        self.changed.set()
        self.changed = trio.Event()

    @property
    def down(self) -> bool:
        """Whether nobody may be reached at all."""
        return any(isinstance(toxic, Down) for toxic in self.toxics)


def parse_upstream(text: str) -> Upstream:
    """`PORT` or `HOST:PORT` of this machine.

    Raises:
        ConfigurationError: not a port from 1 to 65535, or another machine.
    """
    try:
        parts = urlsplit(f"//127.0.0.1:{text}" if text.isdecimal() else f"//{text}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port or text.rpartition(":")[2] != str(port):
        raise ConfigurationError([Problem("upstream", "must be PORT or HOST:PORT with a port from 1 to 65535")])
    if not is_loopback(host):
        message = "must be this machine (127.0.0.1, ::1, localhost): the relay forwards to no other"
        raise ConfigurationError([Problem("upstream", message)])
    return Upstream(host, port)


async def serve(
    upstream: Upstream,
    port: int,
    faults: Faults,
    statistics: Statistics,
    *,
    seed: int,
    listening: Callable[[int], None],
) -> None:
    """Relay until cancelled; port 0 takes a free one and `listening` is told which.

    While the toxic `down` is in use the port is not listened on, so that connecting is refused by the kernel.

    Raises:
        AlreadyRunningError: the port is taken.
    """
    listeners = await _listen(port)
    port = listeners[0].socket.getsockname()[1]
    listening(port)
    async with trio.open_nursery() as connections:
        accept = partial(_accept, upstream, faults, statistics, seed)
        while True:
            await _accept_until_down(listeners, accept, faults, connections)
            while faults.down:
                await faults.changed.wait()
            listeners = await _listen(port)


async def carry(
    client: HalfCloseableStream,
    upstream: HalfCloseableStream,
    faults: Faults,
    statistics: Statistics,
    *,
    seed: str,
) -> Ending:
    """Carry bytes both ways under the toxics until the connection ends; both streams are closed then.

    Returns CLOSE, or RESET if either side, or a toxic, cut it.
    """
    return await _Connection(client, upstream, faults, statistics, seed).carry()


class _Side:
    """One stream, and whether writing to it has shown that its peer is gone: then the end of its bytes is a reset."""

    def __init__(self, stream: HalfCloseableStream) -> None:
        self.stream = stream
        self.broken = False


class _Connection:
    def __init__(
        self,
        client: HalfCloseableStream,
        upstream: HalfCloseableStream,
        faults: Faults,
        statistics: Statistics,
        seed: str,
    ) -> None:
        near, far = self._sides = _Side(client), _Side(upstream)
        self._pumps = (
            _Pump("up", near, far, faults, statistics, seed),
            _Pump("down", far, near, faults, statistics, seed),
        )
        self._faults = faults
        self._ending = Ending.CLOSE
        self._scope = trio.CancelScope()

    async def carry(self) -> Ending:
        try:
            with self._scope:
                async with trio.open_nursery() as watching:
                    watching.start_soon(self._watch)
                    async with trio.open_nursery() as pumping:
                        for pump in self._pumps:
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
            for pump in self._pumps:
                pump.lane.use(self._faults.toxics, trio.current_time())
            at_s, ending = min(self._cuts(), default=(math.inf, Ending.CLOSE), key=lambda cut: cut[0])
            with trio.move_on_at(at_s):
                await changed.wait()
                continue
            self._end(ending)
            return

    def _cuts(self) -> Iterator[tuple[float, Ending]]:
        for pump in self._pumps:
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
        self, way: Way, source: _Side, destination: _Side, faults: Faults, statistics: Statistics, seed: str
    ) -> None:
        self.lane = Lane(way, seed=f"{seed}/{way}")
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


async def _listen(port: int) -> list[trio.SocketListener]:
    try:
        return await trio.open_tcp_listeners(port, host=HOST)
    except OSError as refused:
        if refused.errno not in {errno.EADDRINUSE, errno.EACCES}:
            raise
        message = f"port {port} on {HOST} cannot be listened on: {refused.strerror}; choose another: --listen PORT"
        raise AlreadyRunningError(message) from refused


async def _accept_until_down(
    listeners: list[trio.SocketListener],
    accept: Callable[[trio.SocketStream], Awaitable[None]],
    faults: Faults,
    connections: trio.Nursery,
) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(trio.serve_listeners, accept, listeners, handler_nursery=connections))
        while not faults.down:
            await faults.changed.wait()
        nursery.cancel_scope.cancel()


async def _accept(
    upstream: Upstream, faults: Faults, statistics: Statistics, seed: int, client: trio.SocketStream
) -> None:
    """One connection from accept to end; a client whose upstream cannot be reached is reset."""
    if statistics.open >= MAX_CONNECTIONS:
        statistics.refused += 1
        await reset(client)
        return
    statistics.connections += 1
    statistics.open += 1
    seed_here = f"{seed}/{statistics.connections}"
    try:
        there = await _connect(upstream)
        if there is None:
            statistics.refused += 1
            await reset(client)
            return
        ending = await carry(client, there, faults, statistics, seed=seed_here)
        statistics.reset += ending is Ending.RESET
    finally:
        statistics.open -= 1


async def _connect(upstream: Upstream) -> trio.SocketStream | None:
    with trio.move_on_after(CONNECT_DEADLINE_S), suppress(OSError):
        return await trio.open_tcp_stream(*upstream)
    return None
