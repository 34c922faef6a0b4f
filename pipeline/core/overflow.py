"""What a full link does: the rules, the bound, and the one decision every binding of a link asks for."""

from enum import StrEnum, auto
from typing import Final, Literal, Protocol, cast

import msgspec

EMPTY_VALUE_MS: Final = 1.0
"""What a value without sound costs on a link bounded in ms: it takes memory too, so a flood must meet the bound."""


class Overflow(StrEnum):
    """What happens to a value that does not fit."""

    WAIT = "wait"
    DROP_OLDEST = "drop_oldest"
    LATEST = "latest"
    FAIL = "fail"


class Decision(StrEnum):
    """What the owner of the queue does next with the incoming value."""

    ACCEPT = auto()
    DROP_OLDEST = auto()
    WAIT = auto()
    REFUSE = auto()


class Timed(Protocol):
    """A value with a length: every frame."""

    @property
    def duration_ms(self) -> float:
        """Length in ms."""
        ...


class Hold(msgspec.Struct, frozen=True):
    """How much a link may keep.

    Attributes:
        amount: in `unit`, above zero.
        unit: "ms" of sound on data links, so that latencies can be summed; "items" on control links.

    Raises:
        ValueError: the amount is not above zero, or is a broken number of items.
    """

    amount: float
    unit: Literal["ms", "items"]

    def __post_init__(self) -> None:
        if not 0 < self.amount < float("inf"):
            raise ValueError(f"Hold.amount must be above zero and finite, not {self.amount}")
        if self.unit == "items" and self.amount != int(self.amount):
            raise ValueError(f"Hold.amount must be a whole number of items, not {self.amount}")

    def size_of(self, value: object) -> float:
        """What `value` takes of the hold, always above zero. The graph's check has seen that it has a length."""
        if self.unit == "items":
            return 1.0
        return max(cast("Timed", value).duration_ms, EMPTY_VALUE_MS)


def decide(rule: Overflow, held: float, size: float, hold: Hold) -> Decision:
    """Decide about an incoming value; asked again after every DROP_OLDEST and every wait.

    A value larger than the whole hold would wait for ever, so an empty queue takes it whatever its size, except under
    FAIL, whose bound is a promise about memory.

    Args:
        rule: the link's overflow rule.
        held: sum of `Hold.size_of` over the queue; exactly 0 when it is empty.
        size: `Hold.size_of` of the incoming value.
        hold: the link's bound.
    """
    assert held >= 0 < size
    if rule is Overflow.LATEST:
        return Decision.DROP_OLDEST if held > 0 else Decision.ACCEPT
    if held + size <= hold.amount or (held == 0 and rule is not Overflow.FAIL):
        return Decision.ACCEPT
    return _WHEN_FULL[rule]


_WHEN_FULL: Final = {
    Overflow.WAIT: Decision.WAIT,
    Overflow.DROP_OLDEST: Decision.DROP_OLDEST,
    Overflow.FAIL: Decision.REFUSE,
}
