"""A link inside one process: a bounded queue and its overflow rule.

A trio memory channel would not do: it cannot count milliseconds, and it hands a value to a receiver that has not run
yet, where neither a purge nor a newer value could reach it.
"""

import math
from collections import deque
from collections.abc import Callable
from typing import Any, Final, Generic, NamedTuple, Protocol, Self, TypeVar, cast

import trio
from trio.lowlevel import ParkingLot

from pipeline.core.overflow import Decision, Hold, Overflow, decide
from pipeline.runtime.bell import Bell
from pipeline.runtime.floor import Floor
from pipeline.runtime.ports import LinkStatistics
from pipeline.vocabulary.errors import LinkClosedError, LinkError, LinkFullError

T = TypeVar("T")

PACKET_MS_MIN: Final = 10.0
"""Shortest packet a full link is made of: a hold in ms bounds the items too, or slivers of sound would eat memory."""


class _Turned(Protocol):
    """A value that belongs to a turn: every reply frame."""

    @property
    def turn(self) -> int: ...


class _Queue(Generic[T]):
    """What both ends share. Nothing in here waits, so each change is whole before another task can look.

    At every moment sent = received + dropped + stale + items.
    """

    def __init__(
        self, name: str, hold: Hold, overflow: Overflow, floor: Floor | None, on_room: Callable[[], None]
    ) -> None:
        self.name = name
        self.room = ParkingLot()
        self.arrival = Bell()
        self._hold = hold
        self._overflow = overflow
        self._floor = floor
        self._on_room = on_room
        self._items_max = math.ceil(hold.amount / PACKET_MS_MIN) if hold.unit == "ms" else int(hold.amount)
        self._values: deque[tuple[T, float]] = deque()  # with their sizes
        self.held = 0.0
        self._sent = self._received = self._dropped = self._stale = 0
        self._closed = ""
        if floor is not None:
            floor.register(self.purge)

    def offer(self, value: T) -> bool:
        """Send `value` under the overflow rule; False if it must wait for room. Raises LinkError."""
        if self._closed:
            raise LinkClosedError(f"link {self.name}: the {self._closed} has closed it")
        if self._is_stale(value):
            self._sent += 1
            self._stale += 1
            return True
        size = self._hold.size_of(value)
        while (decision := self._decide(size)) is Decision.DROP_OLDEST:
            self._pop()
            self._dropped += 1
        if decision is Decision.REFUSE:
            raise LinkFullError(
                f"link {self.name}: full at {self._hold.amount:g} {self._hold.unit}, nobody takes from it"
            )
        if decision is Decision.ACCEPT:
            self._values.append((value, size))
            self.held += size
            self._sent += 1
            self.arrival.ring()
        return decision is Decision.ACCEPT

    @property
    def is_drained(self) -> bool:
        """Nothing is here, but something may come."""
        return not (self._values or self._closed)

    @property
    def items(self) -> int:
        """How many values are here."""
        return len(self._values)

    def take(self) -> T:
        """The oldest value that is not stale. Raises trio.WouldBlock, or LinkClosedError when none can come."""
        while self._values:
            value = self._pop()
            if not self._is_stale(value):
                self._received += 1
                self._made_room()
                return value
            self._stale += 1
        if self._closed:
            raise LinkClosedError(f"link {self.name}: the {self._closed} has closed it")
        raise trio.WouldBlock

    def purge(self) -> None:
        """Take out everything stale; the floor calls it. A waiting sender finds room, or finds itself stale."""
        kept = deque((value, size) for value, size in self._values if not self._is_stale(value))
        self._stale += len(self._values) - len(kept)
        self._values, self.held = kept, sum((size for _, size in kept), 0.0)
        self._made_room()

    def close_sender(self) -> None:
        """Nothing more comes; what is queued can still be received."""
        self._closed = self._closed or "sender"
        self._wake_all()

    def close_receiver(self) -> None:
        """Nobody listens any more: what is queued counts as dropped."""
        self._closed = self._closed or "receiver"
        self._dropped += len(self._values)
        self._values.clear()
        self.held = 0.0
        self._wake_all()

    def statistics(self) -> LinkStatistics:
        """Counters so far."""
        return LinkStatistics(
            name=self.name,
            unit=self._hold.unit,
            hold=self._hold.amount,
            held=self.held,
            items=self.items,
            sent=self._sent,
            received=self._received,
            dropped=self._dropped,
            stale=self._stale,
            waiting=len(self.room),
        )

    def _decide(self, size: float) -> Decision:
        held = self._hold.amount if len(self._values) == self._items_max else self.held
        return decide(self._overflow, held, size, self._hold)

    def _pop(self) -> T:
        value, size = self._values.popleft()
        # an empty queue holds nothing, whatever rounding has left over
        self.held = self.held - size if self._values else 0.0
        return value

    def _is_stale(self, value: T) -> bool:
        return self._floor is not None and cast("_Turned", value).turn < self._floor.value

    def _made_room(self) -> None:
        if self.room:  # next to nobody ever waits
            self.room.unpark_all()
        self._on_room()

    def _wake_all(self) -> None:
        self.room.unpark_all()
        self.arrival.ring()


class LocalSender(Generic[T]):
    """The sending end; implements `ports.Sender`. It outlives its actor: only the runtime closes it."""

    def __init__(self, queue: _Queue[T]) -> None:
        self._queue = queue

    async def send(self, value: T) -> None:
        """Send under the link's overflow rule. Cancelled means not sent."""
        await trio.lowlevel.checkpoint_if_cancelled()
        try:
            sent = self._queue.offer(value)
        except LinkError:
            await trio.lowlevel.cancel_shielded_checkpoint()
            raise
        if sent:  # offered before the checkpoint: the receiver need not wait a turn of the loop for it
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            await self._wait(value)

    async def _wait(self, value: T) -> None:
        """Send as soon as there is room; parking is checkpoint enough."""
        sent = False
        while not sent:
            await self._queue.room.park()
            sent = self._queue.offer(value)

    def send_nowait(self, value: T) -> None:
        """As `send`, but raises trio.WouldBlock where that would wait."""
        if not self._queue.offer(value):
            raise trio.WouldBlock

    def statistics(self) -> LinkStatistics:
        """Counters so far."""
        return self._queue.statistics()

    def close(self) -> None:
        """The receiver gets what is queued, then LinkClosedError."""
        self._queue.close_sender()


class LocalReceiver(Generic[T]):
    """The receiving end; implements `ports.Receiver`. It outlives its actor: only the runtime closes it."""

    def __init__(self, queue: _Queue[T]) -> None:
        self._queue = queue

    async def receive(self) -> T:
        """Next value. Cancelled means that nothing was taken."""
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._queue.is_drained:
            return await self._wait()
        try:
            value = self._queue.take()
        except trio.WouldBlock:
            return await self._wait()
        except LinkClosedError:
            await trio.lowlevel.cancel_shielded_checkpoint()
            raise
        await trio.lowlevel.cancel_shielded_checkpoint()
        return value

    async def _wait(self) -> T:
        """The next value to come; parking is checkpoint enough, one more would only cost a turn of the loop."""
        while True:
            await self._queue.arrival.wait()
            try:
                return self._queue.take()
            except trio.WouldBlock:
                pass

    def receive_nowait(self) -> T:
        """Next value if there is one, else raises trio.WouldBlock."""
        return self._queue.take()

    async def wait_value(self) -> None:
        """Wait until there is a value to receive, or none will ever come."""
        await trio.lowlevel.checkpoint()
        while self._queue.is_drained:
            await self._queue.arrival.wait()

    @property
    def held(self) -> float:
        """How much is queued, in the link's unit; `statistics` costs more."""
        return self._queue.held

    @property
    def items(self) -> int:
        """How many values are queued."""
        return self._queue.items

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        try:
            return await self.receive()
        except LinkClosedError:
            raise StopAsyncIteration from None

    def statistics(self) -> LinkStatistics:
        """Counters so far."""
        return self._queue.statistics()

    def close(self) -> None:
        """What is queued counts as dropped; the sender gets LinkClosedError."""
        self._queue.close_receiver()


class LocalLink(NamedTuple, Generic[T]):
    """Both ends of a link."""

    sender: LocalSender[T]
    receiver: LocalReceiver[T]

    def close(self) -> None:
        """Close both ends."""
        self.sender.close()
        self.receiver.close()


def open_local_link(
    name: str,
    hold: Hold,
    overflow: Overflow,
    *,
    floor: Floor | None = None,
    on_room: Callable[[], None] = lambda: None,
) -> LocalLink[Any]:
    """Open a link inside this process; with a `floor` every value carries `turn` and obeys it.

    `on_room` is called whenever a value was taken or purged; it must neither wait nor raise.
    """
    queue = _Queue[Any](name, hold, overflow, floor, on_room)
    return LocalLink(LocalSender(queue), LocalReceiver(queue))
