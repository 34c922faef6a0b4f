"""A simulated network: wires of bytes with a delay and a window, and everything that can go wrong with them.

A wire is what TCP gives two programs. Faults that alter bytes or their timing are the relay's toxics, which work on
parcels and so need no socket; those that break a wire, or keep one from being made, stand here.
"""

import errno
import math
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Final

import trio

from pipeline.edges.keepalive import IDLE_S
from pipeline.proving import determinism
from pipeline.proving import happenings as hp
from pipeline.proving.catalogue import Toxic
from pipeline.proving.client_frames import read_frame
from pipeline.proving.lane import Lane
from pipeline.proving.toxics import Ending, Parcel, Way
from pipeline.proving.trace import Trace
from pipeline.runtime.bell import Bell

DELAY_S: Final = 0.02
"""One way. As long as a block of the microphone, so that the clock has to jump once for both."""
WINDOW_BYTES: Final = 65_536
"""Sent and not yet read; then the sender waits. A kernel keeps 100 ms frames of about this size before it blocks."""

Accept = Callable[["End"], None]


class Network:
    """Carries wires from the daemon to one service.

    Attributes:
        toxics: what works on every wire.
        on_operation: called with the number of each operation on a stream (dial, send, receive) before it is done.
        frame_ms: length of a block of the microphone.
        newest: the number of the newest wire that the daemon has got.
    """

    def __init__(self, trace: Trace, accept: Accept, frame_ms: int, seed: int) -> None:
        self.toxics: tuple[Toxic, ...] = ()
        self._refusing = 0
        self._swallowing = 0
        self.on_operation: Callable[[int], None] | None = None
        self.trace = trace
        self.frame_ms = frame_ms
        self._accept = accept
        self._seed = seed
        self.newest = 0
        self._dialled = 0
        self._operations = 0
        self._wires: list[Wire] = []
        self._changed = trio.lowlevel.ParkingLot()
        self._ailing = trio.lowlevel.ParkingLot()

    @property
    def wires(self) -> list["Wire"]:
        """Those that at least one end still holds."""
        self._wires = [wire for wire in self._wires if not wire.over]
        return list(self._wires)

    async def open_stream(self, _host: str, _port: int) -> trio.abc.Stream:
        """Dial the service. Raises OSError."""
        self.trace.add(hp.Dialled())
        self.operate()
        await trio.sleep(2 * DELAY_S)
        await self.pass_over()
        if self.refuses:
            raise ConnectionRefusedError(errno.ECONNREFUSED, "nobody listens")
        wire = self.connect()
        self.newest = wire.number
        self.trace.add(hp.Connected(wire.number))
        return wire.client

    async def pass_over(self) -> None:
        """Return once a packet gets through."""
        await trio.lowlevel.checkpoint()
        while self._swallowing:
            await self._changed.park()

    def connect(self, *, twin: bool = False) -> "Wire":
        """Make a wire and hand its far end to the service; a `twin` is none of the daemon's."""
        self._dialled += 1
        if twin:
            self.trace.add(hp.Twinned(self._dialled))
        wire = Wire(self, self._dialled, self._seed)
        wire.use(self.toxics)
        self._wires.append(wire)
        self._accept(wire.server)
        return wire

    @property
    def refuses(self) -> bool:
        """Whether nobody listens."""
        return self._refusing > 0

    @contextmanager
    def poisoned(self, *toxics: Toxic) -> Iterator[None]:
        """These toxics work on every wire meanwhile. A wire that has lost bytes is reset once they are gone."""
        self._use((*self.toxics, *toxics))
        try:
            yield
        finally:
            self._use(tuple(kept for kept in self.toxics if not any(kept is toxic for toxic in toxics)))

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Nobody listens meanwhile."""
        self._refusing += 1
        try:
            yield
        finally:
            self._refusing -= 1

    @contextmanager
    def swallowing(self) -> Iterator[None]:
        """Nobody answers meanwhile, so dialling hangs."""
        self._swallowing += 1
        self.note_ailment()
        try:
            yield
        finally:
            self._swallowing -= 1
            self._changed.unpark_all()

    def _use(self, toxics: tuple[Toxic, ...]) -> None:
        self.toxics = toxics
        for wire in self.wires:
            wire.use(toxics)
        self.note_ailment()

    async def rest_until(self, when_s: float) -> None:
        """As RestUntil: the pings of idle wires that nothing ails are left out; a week has 151,000 of them."""
        while not (self.toxics or self._swallowing or any(wire.ails for wire in self.wires)):
            await self._ailing.park()
        skipped = max(0, math.ceil((trio.current_time() - when_s) / IDLE_S))
        await trio.sleep_until(when_s + skipped * IDLE_S)

    def note_ailment(self) -> None:
        """Something begins to ail a wire, perhaps."""
        self._ailing.unpark_all()

    def cut(self) -> None:
        """Reset every wire."""
        for wire in self.wires:
            wire.reset()

    def operate(self) -> None:
        """Somebody uses a stream."""
        self._operations += 1
        if self.on_operation is not None:
            self.on_operation(self._operations)


class Wire:
    """One connection: `client` is the daemon's end, `server` the service's."""

    def __init__(self, network: Network, number: int, seed: int) -> None:
        self.number = number
        self.network = network
        self.is_reset = False
        self.greeting = b""  # what the daemon said first
        self._up = _Direction(Lane("up", seed=f"{seed} {number} up"))
        self._down = _Direction(Lane("down", seed=f"{seed} {number} down"))
        self.client = End(self, outgoing=self._up, incoming=self._down, is_client=True)
        self.server = End(self, outgoing=self._down, incoming=self._up, is_client=False)

    @property
    def over(self) -> bool:
        """Whether both ends have let go of it."""
        return self.client.closed and self.server.closed

    @property
    def ails(self) -> bool:
        """Whether the near end would wait in vain for an answer."""
        return self.server.closed or self.server.gated

    def use(self, toxics: Sequence[Toxic]) -> None:
        """These toxics work on it from now on."""
        self._up.use(toxics, "up")
        self._down.use(toxics, "down")
        if self._up.lane.torn or self._down.lane.torn:
            self.reset()

    def forget(self) -> None:
        """The far end lets go of it, and the near end is not told before it sends something."""
        if not self.over:
            self.network.trace.add(hp.Forgotten(self.number))
            self.server.leave()
            self.network.note_ailment()

    def reset(self) -> None:
        """Break it under both ends, at once."""
        if not (self.is_reset or self.over):
            self.is_reset = True
            self.network.trace.add(hp.Broken(self.number))
            self._up.wake()
            self._down.wake()


class _Direction:
    """The bytes on their way from one end to the other."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.parcels: deque[Parcel] = deque()
        self.finished = False
        self.written = 0
        self.taken = 0
        self.vanishes = False
        self.swallowed = False
        self.next_mark: hp.Told | None = None
        self.marks: deque[tuple[int, hp.Told]] = deque()
        self._arrival = Bell()
        self._room = Bell()

    def use(self, toxics: Sequence[Toxic], way: Way) -> None:
        """These toxics work on it from now on."""
        self.vanishes = any(toxic.swallows and toxic.touches(way) for toxic in toxics)
        self.lane.use(toxics, trio.current_time())
        self.wake()

    def feed(self, parcel: Parcel) -> None:
        """Send it on its way; what is swallowed keeps its place in the window, as nobody ever acknowledges it."""
        self.written += len(parcel.data)
        if self.next_mark is not None and parcel.data:
            self.marks.append((self.written, self.next_mark))
            self.next_mark = None
        arriving = self.lane.feed(parcel)
        self.swallowed = self.swallowed or bool(parcel.data and not arriving)
        self.parcels.extend(arriving)
        for each in arriving:
            determinism.at(each.at_s, self._arrival.ring)

    async def wait_arrival(self) -> None:
        """Until something may have changed for the reader."""
        await self._arrival.wait()

    async def wait_room(self) -> None:
        """Until something may have changed for the writer."""
        await self._room.wait()

    @property
    def is_full(self) -> bool:
        """Whether the writer has to wait."""
        return self.written - self.taken >= min(WINDOW_BYTES, self.lane.window_bytes)

    @property
    def has_arrived(self) -> bool:
        """Whether the reader can take something."""
        return bool(self.parcels) and not self.lane.stalled and self.parcels[0].at_s <= trio.current_time()

    def take(self, max_bytes: int) -> bytes:
        """All that has arrived, up to `max_bytes`."""
        now, data = trio.current_time(), bytearray()
        while self.parcels and self.parcels[0].at_s <= now and len(data) < max_bytes:
            parcel = self.parcels.popleft()
            if parcel.ending is not None:
                self.finished = True
                break
            room = max_bytes - len(data)
            if len(parcel.data) > room:
                self.parcels.appendleft(parcel._replace(data=parcel.data[room:]))
            data += parcel.data[:room]
        self.taken += len(data)
        self._room.ring()
        return bytes(data)

    def reached(self) -> list[hp.Told]:
        """Marked events whose last byte has been taken since the last call."""
        told = []
        while self.marks and self.marks[0][0] <= self.taken:
            told.append(self.marks.popleft()[1])
        return told

    def wake(self) -> None:
        """Something has changed for both sides."""
        self._arrival.ring()
        self._room.ring()


class End(trio.abc.Stream):
    """One end of a wire, as trio has streams."""

    def __init__(self, wire: Wire, *, outgoing: _Direction, incoming: _Direction, is_client: bool) -> None:
        self.wire = wire
        self.closed = False
        self._hears = True
        self._speaks = True
        self._outgoing = outgoing
        self._incoming = incoming
        self._is_client = is_client

    def mark(self, told: hp.Told) -> None:
        """What is sent next completes this event."""
        self._outgoing.next_mark = told

    def gate(self, *, hears: bool, speaks: bool) -> None:
        """Whether this end reads what comes, and whether what it says leaves it."""
        if hears is not self._hears:
            self.wire.network.trace.add((hp.Recovered if hears else hp.Deafened)(self.wire.number))
        self._hears, self._speaks = hears, speaks
        self.wire.network.note_ailment()
        self._incoming.wake()

    @property
    def gated(self) -> bool:
        """Whether it does not hear, or what it says does not leave it."""
        return not (self._hears and self._speaks)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """As trio."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self.wire.network.operate()
        self._demand_open()
        while self._outgoing.is_full:
            await self._outgoing.wait_room()
            self._demand_open()
        if self._peer.closed and not self._outgoing.vanishes:
            raise trio.BrokenResourceError
        if not self._speaks:
            return
        if self._is_client:
            self._trace_frame(bytes(data))
        before = self._outgoing.swallowed
        self._outgoing.feed(Parcel(round(trio.current_time() + DELAY_S, 6), bytes(data)))
        if self._is_client and self._outgoing.swallowed and not before:
            self.wire.network.trace.add(hp.Swallowed(self.wire.number))

    async def wait_send_all_might_not_block(self) -> None:
        """As trio."""
        await trio.lowlevel.checkpoint()
        self._demand_open()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """As trio."""
        await trio.lowlevel.checkpoint_if_cancelled()
        self.wire.network.operate()
        while True:
            self._demand_open()
            if self._incoming.finished:
                return b""
            if self._hears and self._incoming.has_arrived:
                return self._take(max_bytes or WINDOW_BYTES)
            await self._incoming.wait_arrival()

    async def aclose(self) -> None:
        """As trio."""
        if not self.closed:
            self.leave()
            self._outgoing.feed(Parcel(trio.current_time() + DELAY_S, ending=Ending.FINISH))
        await trio.lowlevel.checkpoint()

    def leave(self) -> None:
        """Let go of the wire without telling the other end."""
        self.closed = True
        self._incoming.wake()
        self._outgoing.wake()
        if self._is_client:
            self.wire.network.trace.add(hp.Left(self.wire.number))

    def _trace_frame(self, data: bytes) -> None:
        wire = self.wire
        if not wire.greeting:
            wire.greeting = data
            return
        kind, sound = read_frame(data, wire.network.frame_ms)
        for run in sound:
            wire.network.trace.add(hp.Sent(wire.number, *run))
        if wire.number < wire.network.newest:
            wire.network.trace.add(hp.SentBehind(wire.number, kind))

    @property
    def _peer(self) -> "End":
        return self.wire.server if self._is_client else self.wire.client

    def _take(self, max_bytes: int) -> bytes:
        data = self._incoming.take(max_bytes)
        if self._is_client and data:
            for told in self._incoming.reached():
                self.wire.network.trace.add(told)
        return data

    def _demand_open(self) -> None:
        if self.closed:
            raise trio.ClosedResourceError
        if self.wire.is_reset:
            raise trio.BrokenResourceError
