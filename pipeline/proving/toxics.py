"""The faults of a line: one record per toxic (its schema) with the one effect it has on a direction of a connection.

Names and meaning follow toxiproxy (its README, "Toxics"), with the unit added to each field. Bytes travel as parcels
that carry the moment they are due, so an effect is arithmetic on parcels: no clock, no socket, no task. A direction
never has a hole in its bytes: what was swallowed stays lost, and a connection that lost bytes is reset when the toxic
is taken away, as by a router that has forgotten it.
"""

import math
from collections.abc import Callable, Iterator
from enum import Enum
from random import Random
from typing import Annotated, ClassVar, Final, Literal, NamedTuple

from msgspec import Meta, Struct

WINDOW_BYTES: Final = 1 << 20
"""Under way in one direction; more waits in the sender's socket, as behind a full TCP window."""
MODEM_QUEUE_S: Final = 0.5
"""What a slow line keeps in its queue before it pushes back."""
SLOT_S: Final = 0.02
"""A slow line hands bytes over in such portions, so that they flow instead of coming in lumps."""
MAX_SLICES: Final = 1_024
"""Slices under way in one direction: one byte each would else cost 100 times its memory."""

Way = Literal["up", "down"]
"""up: from the client to the server."""
Milliseconds = Annotated[float, Meta(ge=0, le=3_600_000)]
ByteCount = Annotated[int, Meta(ge=0, le=1 << 40)]


class Ending(Enum):
    """How a direction, or with it the whole connection, ends."""

    FINISH = "finish"  # the sender has finished: half a close (FIN), the other direction goes on
    CLOSE = "close"  # both sides are closed in order (FIN)
    RESET = "reset"  # both sides are cut (RST)
    VANISH = "vanish"  # the sender has left and the receiver is not told


class Parcel(NamedTuple):
    """Bytes, or an ending, and the moment (s, on the relay's clock) at which the receiver gets them; never both."""

    at_s: float
    data: bytes = b""
    ending: Ending | None = None


class Cut(NamedTuple):
    """A toxic ends the connection this long after it began to work on it, whether bytes flow or not."""

    after_s: float
    ending: Ending


Effect = Callable[[Parcel], Iterator[Parcel]]


class ToxicBase(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """What all toxics share."""

    swallows: ClassVar[bool] = False
    stalls: ClassVar[bool] = False

    def touches(self, _way: Way) -> bool:
        """Whether it works on this direction."""
        return True

    @property
    def window_bytes(self) -> int:
        """How much may be under way in one direction."""
        return WINDOW_BYTES

    @property
    def cut(self) -> Cut | None:
        """Whether and when it ends the connection by the clock."""
        return None

    def effect(self, _dice: Random) -> Effect:
        """What it does to the parcels of one direction; keeps its own count from now on."""
        return _pass


class _Directed(ToxicBase, frozen=True, kw_only=True):
    """A toxic that may be told to work on one direction only."""

    direction: Literal["up", "down", "both"] = "both"

    def touches(self, way: Way) -> bool:
        """Whether it works on this direction."""
        return self.direction in {way, "both"}


class Latency(_Directed, frozen=True, kw_only=True, tag="latency"):
    """Everything arrives later by latency ± jitter; the order is kept."""

    latency_ms: Milliseconds
    jitter_ms: Milliseconds = 0.0

    def effect(self, dice: Random) -> Effect:
        """Adds a throw of the dice to each parcel."""

        def delay(parcel: Parcel) -> Iterator[Parcel]:
            late_ms = self.latency_ms + dice.uniform(-self.jitter_ms, self.jitter_ms)
            yield parcel._replace(at_s=parcel.at_s + max(0.0, late_ms) / 1_000)

        return delay


class Down(ToxicBase, frozen=True, kw_only=True, tag="down"):
    """Nobody is there: open connections are closed, new ones refused."""

    @property
    def cut(self) -> Cut:
        """At once."""
        return Cut(0.0, Ending.CLOSE)


class Bandwidth(_Directed, frozen=True, kw_only=True, tag="bandwidth"):
    """A slow line: at most so many kilobits (1,000 bit) per second."""

    rate_kbit_s: Annotated[float, Meta(ge=0.1, le=10_000_000)]

    @property
    def _rate_bytes_s(self) -> float:
        return self.rate_kbit_s * 1_000 / 8

    @property
    def window_bytes(self) -> int:
        """Half a second of the line."""
        return min(WINDOW_BYTES, max(1, int(self._rate_bytes_s * MODEM_QUEUE_S)))

    def effect(self, _dice: Random) -> Effect:
        """Each portion is due when the line has carried it."""
        portion_bytes = max(1, int(self._rate_bytes_s * SLOT_S))
        return paced(lambda: portion_bytes, lambda size_bytes: size_bytes / self._rate_bytes_s, late=True)


class SlowClose(_Directed, frozen=True, kw_only=True, tag="slow_close"):
    """The end of a direction arrives late; its bytes do not."""

    delay_ms: Milliseconds

    def effect(self, _dice: Random) -> Effect:
        """Puts endings off."""

        def put_off(parcel: Parcel) -> Iterator[Parcel]:
            yield parcel._replace(at_s=parcel.at_s + self.delay_ms / 1_000) if parcel.ending else parcel

        return put_off


class Timeout(_Directed, frozen=True, kw_only=True, tag="timeout"):
    """All bytes are swallowed; the connection is closed after the timeout, with 0 never."""

    swallows: ClassVar[bool] = True
    timeout_ms: Milliseconds

    @property
    def cut(self) -> Cut | None:
        """At the timeout."""
        return Cut(self.timeout_ms / 1_000, Ending.CLOSE) if self.timeout_ms else None

    def effect(self, _dice: Random) -> Effect:
        """Only endings pass."""
        return lambda parcel: iter([parcel] if parcel.ending else [])


class ResetPeer(_Directed, frozen=True, kw_only=True, tag="reset_peer"):
    """All bytes are swallowed; the connection is reset after the timeout, or when a side closes before."""

    swallows: ClassVar[bool] = True
    timeout_ms: Milliseconds = 0.0

    @property
    def cut(self) -> Cut:
        """At the timeout."""
        return Cut(self.timeout_ms / 1_000, Ending.RESET)

    def effect(self, _dice: Random) -> Effect:
        """Only endings pass, as resets."""
        return lambda parcel: iter([parcel._replace(ending=Ending.RESET)] if parcel.ending else [])


class Slicer(_Directed, frozen=True, kw_only=True, tag="slicer"):
    """Bytes come in slices of average ± variation, each so much later than the one before."""

    average_bytes: Annotated[int, Meta(ge=1, le=65_536)]
    variation_bytes: Annotated[int, Meta(ge=0, le=65_535)] = 0
    delay_ms: Annotated[float, Meta(ge=0, le=60_000)] = 0.0

    def __post_init__(self) -> None:
        if self.variation_bytes >= self.average_bytes:
            raise ValueError("variation_bytes must be below average_bytes")

    @property
    def window_bytes(self) -> int:
        """So much that the slices are no more than 1,024."""
        return min(WINDOW_BYTES, MAX_SLICES * (self.average_bytes - self.variation_bytes))

    def effect(self, dice: Random) -> Effect:
        """Cuts at sizes the dice choose."""
        low, high = self.average_bytes - self.variation_bytes, self.average_bytes + self.variation_bytes
        return paced(lambda: dice.randint(low, high), lambda _: self.delay_ms / 1_000, late=False)


class LimitData(_Directed, frozen=True, kw_only=True, tag="limit_data"):
    """The connection is closed once so many bytes have passed (in this direction, since the toxic began)."""

    limit_bytes: ByteCount

    def effect(self, _dice: Random) -> Effect:
        """Counts down."""
        return _ended_after(self.limit_bytes, Ending.CLOSE)


class ResetAt(_Directed, frozen=True, kw_only=True, tag="reset_at"):
    """The connection is reset once so many bytes have passed; 0 resets at the first byte of a handshake."""

    at_bytes: ByteCount

    def effect(self, _dice: Random) -> Effect:
        """Counts down."""
        return _ended_after(self.at_bytes, Ending.RESET)


class HalfOpen(_Directed, frozen=True, kw_only=True, tag="half_open"):
    """Bytes and endings are swallowed while the connection stays open: nobody learns that the other has left."""

    swallows: ClassVar[bool] = True

    def effect(self, _dice: Random) -> Effect:
        """Nothing arrives."""
        return lambda parcel: iter([parcel._replace(ending=Ending.VANISH)] if parcel.ending else [])


class Stall(_Directed, frozen=True, kw_only=True, tag="stall"):
    """Nothing is taken from the sender until the toxic is gone; then all of it arrives."""

    stalls: ClassVar[bool] = True


def _pass(parcel: Parcel) -> Iterator[Parcel]:
    yield parcel


def paced(size_bytes: Callable[[], int], takes_s: Callable[[int], float], *, late: bool) -> Effect:
    """Portions one after another; `late`: each is due at the end of the time it takes, else at its beginning."""
    free_s = -math.inf

    def pace(parcel: Parcel) -> Iterator[Parcel]:
        nonlocal free_s
        begin_s, start = max(parcel.at_s, free_s), 0
        if parcel.ending:
            yield parcel._replace(at_s=begin_s)
        while start < len(parcel.data):
            portion = parcel.data[start : start + size_bytes()]
            free_s = begin_s + takes_s(len(portion))
            yield Parcel(free_s if late else begin_s, portion)
            begin_s, start = free_s, start + len(portion)

    return pace


def _ended_after(limit_bytes: int, ending: Ending) -> Effect:
    left_bytes = limit_bytes

    def count(parcel: Parcel) -> Iterator[Parcel]:
        nonlocal left_bytes
        if parcel.ending:
            yield parcel
            return
        passed = parcel.data[:left_bytes]
        left_bytes -= len(passed)
        if passed:
            yield Parcel(parcel.at_s, passed)
        if not left_bytes:
            yield Parcel(parcel.at_s, ending=ending)

    return count
