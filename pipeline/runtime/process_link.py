"""Links between two processes: the queue stays with the sender, and credits bound what is in flight.

One `Trunk` (AF_UNIX SEQPACKET, one per life of a child) carries every link between parent and child. A bare socket
would hide seconds of sound from the overflow rules and from the floor; so a sender puts at most a window of its link on
the way, and the receiver grants as much again when its actor has taken it. The ends of the links live longer than
trunks: a respawned child finds the same queues in its parent, and what was in flight to the dead one is counted.

Design §5 lets the parent keep both sockets over a respawn. A fresh pair per life is better: the death of either process
is then the end of the stream for the other, at once, and no byte meant for the dead reaches the living.
"""

import os
import select
import struct
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from enum import IntEnum
from itertools import islice
from typing import Any, Final, NamedTuple

import msgspec
import trio

from pipeline.core.overflow import Hold, Overflow
from pipeline.runtime.floor import Floor
from pipeline.runtime.graph import LinkSpec
from pipeline.runtime.local_link import LocalReceiver, LocalSender, open_local_link
from pipeline.runtime.ports import LinkStatistics
from pipeline.vocabulary.errors import LinkClosedError

WINDOW_MS: Final = 400.0
"""Sound in flight on one link: twenty blocks of 20 ms. Neither process waits for the other's next look, and what grants
the next half of it wakes the sender five times a second, not with every block."""
WINDOW_ITEMS: Final = 4
"""Control values in flight on one link, but never more than it may hold ..."""
WINDOW_GAUGE: Final = 10
"""... except of a gauge: each of its values is worth nothing once the next has come, and asking for them one by one
woke both processes as often as the gauge moved."""
LONGEST_VALUE_MS: Final = 1_000.0
"""Largest single value that crosses; a window is exceeded by at most one value."""
FLUSH_S: Final = 0.2
"""For the last words of a process that ends; a peer that takes nothing for so long is gone."""
MAX_MESSAGE_BYTES: Final = 128 * 1024
"""A second of PCM is 48 kB; the kernel refuses packets over about 200 kB."""

LINGER_S: Final = 0.1
"""What can wait waits so long for something that cannot, and travels with it: each packet wakes the other process, and
that costs more than what is in it."""
PACKET_BYTES: Final = 8 * 1024
"""What has queued up meanwhile shares a packet up to here: a packet costs the two processes more than what is in it."""

_HEADER: Final = struct.Struct("<BHId")  # kind, index of the link, bytes of the body, size or number


class Kind(IntEnum):
    """What a message on a trunk is."""

    VALUE = 0
    CREDIT = 1
    FLOOR = 2
    REPORT = 3
    """Something for the runtime itself; see `processes` and `worker`."""


class CrossingLink(NamedTuple):
    """A link of the map that crosses, with the type of its values."""

    number: int
    spec: LinkSpec
    payload: Any

    @property
    def window(self) -> float:
        """How much may be in flight, in the link's unit."""
        if self.spec.overflow is Overflow.LATEST:
            return WINDOW_GAUGE
        return WINDOW_MS if self.spec.hold.unit == "ms" else min(WINDOW_ITEMS, self.spec.hold.amount)

    @property
    def can_wait(self) -> bool:
        """Nothing is decided by its values the moment they come: a gauge."""
        return self.spec.overflow is Overflow.LATEST


class Outlet:
    """The sending end of a crossing link: its queue, with the link's own bound and overflow rule.

    Attributes:
        sender: the actor's port.
        lost: values that were in flight when a trunk ended.
    """

    def __init__(self, link: CrossingLink, floor: Floor) -> None:
        spec = link.spec
        queue = open_local_link(spec.name, spec.hold, spec.overflow, floor=floor if spec.obeys_floor else None)
        self.link = link
        self.sender: LocalSender[Any] = queue.sender
        self.lost = 0
        self._receiver: LocalReceiver[Any] = queue.receiver
        self._encode = msgspec.msgpack.Encoder().encode
        self._in_flight = 0.0
        self._values_in_flight: deque[float] = deque()
        self._granted = trio.lowlevel.ParkingLot()

    async def pump(self, trunk: "Trunk") -> None:
        """Send what the queue holds, a window at a time, for as long as this trunk lasts."""
        self.lost += len(self._values_in_flight)
        self._values_in_flight.clear()
        self._in_flight = 0.0
        while True:
            while self._in_flight >= self.link.window:
                await self._granted.park()
            self._post(trunk, await self._receiver.receive())
            with suppress(trio.WouldBlock):  # what has queued up behind it travels in the same packet
                while self._in_flight < self.link.window:
                    self._post(trunk, self._receiver.receive_nowait())

    def _post(self, trunk: "Trunk", value: Any) -> None:
        size = self.link.spec.hold.size_of(value)
        self._in_flight += size
        self._values_in_flight.append(size)
        trunk.post(Kind.VALUE, self.link.number, size, self._encode(value), can_wait=self.link.can_wait)

    def grant(self, values: int) -> None:
        """The other side has taken so many. Their lengths are known here, and sums of them would not be exact."""
        for _ in range(values):
            self._in_flight -= self._values_in_flight.popleft()
        if not self._values_in_flight:
            self._in_flight = 0.0  # whatever rounding has left over
        if self._granted:
            self._granted.unpark_all()

    def statistics(self) -> LinkStatistics:
        """The link's counters, as far as its sender can know them."""
        return msgspec.structs.replace(self.sender.statistics(), lost=self.lost)

    def close(self) -> None:
        """Close both ends of the queue; the runtime's doing, when no actor is left."""
        self.sender.close()
        self._receiver.close()


class Inlet:
    """The receiving end of a crossing link: holds a window, and grants the next when that was taken.

    Attributes:
        receiver: the actor's port.
    """

    def __init__(self, link: CrossingLink, floor: Floor) -> None:
        spec = link.spec
        longest = LONGEST_VALUE_MS if spec.hold.unit == "ms" else 1
        hold = Hold(2 * link.window + longest, spec.hold.unit)  # twice: a new trunk may meet what an old one brought
        queue = open_local_link(
            spec.name, hold, Overflow.FAIL, floor=floor if spec.obeys_floor else None, on_room=self._grant
        )
        self.link = link
        self.receiver: LocalReceiver[Any] = queue.receiver
        self._sender: LocalSender[Any] = queue.sender
        self._decode = msgspec.msgpack.Decoder(link.payload).decode
        self._trunk: Trunk | None = None
        self._arrived = self._granted = 0.0
        self._values_arrived = self._values_granted = 0
        self._taken = trio.lowlevel.ParkingLot()

    async def attach(self, trunk: "Trunk") -> None:
        """From now on values come over this trunk; what is still queued came over another, which is owed nothing.

        Waits until no more than a window of that is left: lives may be shorter than their values wait to be taken.
        """
        self._trunk = None
        while self.receiver.held > self.link.window:
            await self._taken.park()
        self._trunk = trunk
        self._granted, self._values_granted = self._arrived, self._values_arrived

    def take(self, size: float, body: bytes) -> None:
        """A value has come."""
        self._arrived += size
        self._values_arrived += 1
        self._sender.send_nowait(self._decode(body))
        self._grant()

    def statistics(self) -> LinkStatistics:
        """The link's counters, as far as its receiver can know them."""
        return self.receiver.statistics()

    def close(self) -> None:
        """Close both ends of the queue; the runtime's doing, when no actor is left."""
        self._sender.close()
        self.receiver.close()

    def _grant(self) -> None:
        if self._trunk is None:
            self._taken.unpark_all()
            return
        taken = self._arrived - self.receiver.held - self._granted
        if taken >= self.link.window / 2:  # whoever waits for less has the other half
            values = self._values_arrived - self.receiver.items - self._values_granted
            self._granted += taken
            self._values_granted += values
            self._trunk.post(Kind.CREDIT, self.link.number, values, can_wait=self.link.can_wait)


class Trunk:
    """One socket between this process and another, for the life of the child.

    Args:
        socket: AF_UNIX SEQPACKET, connected; closed when `run` ends.
        outlets: the links that begin here and end there.
        inlets: the links that begin there and end here.
        floor: this process's floor; a raise here is told there if `leads`, and the other way round if not.
        leads: the floor's owner lives in this process.
        on_report: is handed the body of every `REPORT`; must neither wait nor raise.

    Attributes:
        is_full: the other process stands still: nothing more fits in, and what is posted now waits here.
    """

    def __init__(
        self,
        socket: trio.socket.SocketType,
        outlets: Sequence[Outlet],
        inlets: Sequence[Inlet],
        floor: Floor,
        *,
        leads: bool,
        on_report: Callable[[bytes], None],
    ) -> None:
        self._socket = socket
        self._outlets: Mapping[int, Outlet] = {outlet.link.number: outlet for outlet in outlets}
        self._inlets: Mapping[int, Inlet] = {inlet.link.number: inlet for inlet in inlets}
        self._floor = floor
        self._leads = leads
        self._on_report = on_report
        self.is_full = False
        self._outgoing: deque[bytes] = deque()  # bounded by the windows: only control and credited values get here
        self._can_wait = False  # all of it
        self._posted = trio.lowlevel.ParkingLot()
        self._emptied = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        """Carry until the other process closes its end or is gone; its values that have come stay receivable."""
        with self._socket:
            for inlet in self._inlets.values():
                await inlet.attach(self)
            async with trio.open_nursery() as nursery:
                if self._leads:
                    self._tell_floor()
                    self._floor.register(self._tell_floor)
                for outlet in self._outlets.values():
                    nursery.start_soon(self._pump, outlet)
                nursery.start_soon(self._write)
                try:
                    await self._read()
                finally:
                    self._floor.unregister(self._tell_floor)
                    nursery.cancel_scope.cancel()

    @property
    def has_unread(self) -> bool:
        """Whether something has come that was not taken in yet."""
        look = select.poll()
        look.register(self._socket.fileno(), select.POLLIN)
        return bool(look.poll(0))

    def report(self, body: bytes, *, can_wait: bool = False) -> None:
        """Tell the other process's runtime something."""
        self.post(Kind.REPORT, 0, 0.0, body, can_wait=can_wait)

    def post(self, kind: Kind, index: int, number: float, body: bytes = b"", *, can_wait: bool = False) -> None:
        """Queue a message; never waits."""
        self._can_wait = can_wait and (self._can_wait or not self._outgoing)
        self._outgoing.append(_HEADER.pack(kind, index, len(body), number) + body)
        if self._posted:
            self._posted.unpark_all()

    async def flush(self) -> None:
        """Wait until everything posted is on its way, FLUSH_S at most."""
        with trio.move_on_after(FLUSH_S):
            while self._outgoing:
                await self._emptied.park()

    async def _pump(self, outlet: Outlet) -> None:
        try:
            await outlet.pump(self)
        except LinkClosedError:  # the runtime closed the link: nothing more comes
            return

    def _tell_floor(self) -> None:
        self.post(Kind.FLOOR, 0, self._floor.value)

    async def _write(self) -> None:
        try:
            while True:
                while not self._outgoing:
                    await self._posted.park()
                if self._can_wait:
                    await self._linger()
                packet, messages = self._packet()
                try:
                    os.write(self._socket.fileno(), packet)  # whole or not at all; trio's own would yield once more
                except BlockingIOError:
                    self.is_full = True
                    await trio.lowlevel.wait_writable(self._socket)
                    self.is_full = False
                    continue  # with whatever has been posted meanwhile
                for _ in range(messages):
                    self._outgoing.popleft()
                if self._emptied:
                    self._emptied.unpark_all()
        except OSError:  # the reader sees the end of the stream and ends the trunk
            await trio.sleep_forever()

    async def _linger(self) -> None:
        with trio.move_on_after(LINGER_S):
            while self._can_wait:
                await self._posted.park()
        self._can_wait = False

    def _packet(self) -> tuple[bytes, int]:
        """The first message in the queue and those behind it that fit in, and how many they are."""
        size = messages = 0
        for message in self._outgoing:
            size += len(message)
            if messages and size > PACKET_BYTES:
                break
            messages += 1
        return b"".join(islice(self._outgoing, messages)), messages

    async def _read(self) -> None:
        while True:
            try:
                await trio.lowlevel.wait_readable(self._socket)
                packet = os.read(self._socket.fileno(), MAX_MESSAGE_BYTES)
            except BlockingIOError:
                continue
            except OSError:  # reset: the other process was killed with something unread
                return
            if not packet:
                return
            at = 0
            while at < len(packet):
                kind, index, size, number = _HEADER.unpack_from(packet, at)
                begin, at = at + _HEADER.size, at + _HEADER.size + size
                self._take(kind, index, number, packet[begin:at])

    def _take(self, kind: int, index: int, number: float, body: bytes) -> None:
        match kind:
            case Kind.VALUE:
                self._inlets[index].take(number, body)
            case Kind.CREDIT:
                self._outlets[index].grant(int(number))
            case Kind.FLOOR:
                self._floor.raise_to(int(number))
            case Kind.REPORT:
                self._on_report(body)
