"""All an actor ever sees of the machinery: ports to send and receive on, and the floor.

`Receiver[T]` and `Sender[T]` parameters of an actor are its ports (read by `graph` from the annotations); keyword-only
parameters are settings and edges.
"""

from collections.abc import AsyncIterator, Callable
from typing import Protocol, TypeVar

import msgspec
import trio

T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


class LinkStatistics(msgspec.Struct, frozen=True):
    """What a link has done so far. `held` is in the link's unit (ms of audio, or items).

    `waiting` senders want to send and find no room; `lost` values were on their way to a process that died.
    """

    name: str
    unit: str
    hold: float
    held: float
    items: int
    sent: int
    received: int
    dropped: int
    stale: int
    waiting: int = 0
    lost: int = 0


class Receiver(Protocol[T_co]):
    """The receiving end of a link."""

    async def receive(self) -> T_co:
        """Next value; always a checkpoint. Raises LinkClosedError when the sender is gone and nothing is left."""
        ...

    def receive_nowait(self) -> T_co:
        """Next value if there is one, else raises trio.WouldBlock."""
        ...

    async def wait_value(self) -> None:
        """Wait until there is a value to receive, or none will ever come; takes nothing. Always a checkpoint."""
        ...

    def __aiter__(self) -> AsyncIterator[T_co]:
        """Iterate until the link is closed."""
        ...

    def statistics(self) -> LinkStatistics:
        """Counters so far."""
        ...


class Sender(Protocol[T_contra]):
    """The sending end of a link."""

    async def send(self, value: T_contra) -> None:
        """Send under the link's overflow rule; always a checkpoint.

        Raises:
            LinkFullError: full, and the rule is "fail".
            LinkClosedError: the receiver is gone.
        """
        ...

    def send_nowait(self, value: T_contra) -> None:
        """As `send`, without a checkpoint; on a link whose rule is "wait" a full link raises trio.WouldBlock."""
        ...

    def statistics(self) -> LinkStatistics:
        """Counters so far."""
        ...


async def wait_any(*receivers: Receiver[object]) -> None:
    """Wait until one of them has a value, or will never have one; takes nothing."""

    async def wait(receiver: Receiver[object]) -> None:
        await receiver.wait_value()
        nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for receiver in receivers:
            nursery.start_soon(wait, receiver)


class FloorView(Protocol):
    """The lowest turn still wanted. Whatever carries a lower turn is stale wherever it is met."""

    @property
    def value(self) -> int:
        """The floor now; it only rises."""
        ...

    def register(self, purge: Callable[[], None]) -> None:
        """Have `purge` called at once after every raise; it must neither wait nor raise."""
        ...

    def unregister(self, purge: Callable[[], None]) -> None:
        """No longer call `purge`."""
        ...

    @property
    def newest(self) -> int:
        """The newest turn ever numbered, by whichever incarnation of an actor."""
        ...

    def number_turn(self) -> int:
        """Number a new turn, above all others."""
        ...


class FloorHolder(FloorView, Protocol):
    """The floor as its one owner, the session, sees it."""

    def raise_to(self, turn: int) -> None:
        """Raise the floor; lower values are ignored. Every link purges what became stale before this returns."""
        ...
