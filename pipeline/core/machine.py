"""A state machine as a table, and the desk that the machines of one session share."""

from collections.abc import Callable, Mapping
from enum import StrEnum
from typing import Generic, TypeVar

from pipeline.core import effects as fx
from pipeline.realtime.events import ClientEvent
from pipeline.realtime.exchange import Intent, Send
from pipeline.vocabulary.errors import MissingTransitionError
from pipeline.vocabulary.signals import AnyNotice

State = TypeVar("State", bound=StrEnum)
Event = TypeVar("Event", bound=StrEnum)

NOTHING = "nothing"
"""The action of a cell that only changes the state, or not even that: a decision too."""


class Desk:
    """What the machines write to and read the time from.

    Attributes:
        now: host clock of the signal being handled, in s.
        generation: number of the newest connection attempt.
        effects: decided, not yet carried out.
        timers: name → host clock when it is due.
    """

    def __init__(self, generation: int) -> None:
        self.now = 0.0
        self.generation = generation
        self.effects: list[fx.Effect] = []
        self.timers: dict[str, float] = {}

    def decide(self, effect: fx.Effect) -> None:
        """Add an effect."""
        self.effects.append(effect)

    def tell(self, intent: Intent) -> None:
        """Tell network."""
        self.effects.append(fx.Tell(intent))

    def send(self, event: ClientEvent) -> None:
        """Send the service a control event."""
        self.tell(Send(self.generation, event))

    def publish(self, notice: AnyNotice | None) -> None:
        """Tell the world; None is nothing to tell."""
        if notice is not None:
            self.effects.append(fx.Publish(notice))

    def set_timer(self, name: str, after_s: float) -> None:
        """Have `name` come due `after_s` from now."""
        self.timers[name] = self.now + after_s

    def drop_timer(self, name: str) -> None:
        """Call a timer off."""
        self.timers.pop(name, None)


class Machine(Generic[State, Event]):
    """Steps through a table of cells (state, event) → (next state, action); an action is a method of the subclass.

    A missing cell is an error that names state and event: nothing is ignored unless the table says so.
    """

    def __init__(
        self, name: str, table: Mapping[tuple[State, Event], tuple[State, str]], state: State, desk: Desk
    ) -> None:
        self.state = state
        self.desk = desk
        self._name = name
        self._table = table

    def on(self, event: Event) -> None:
        """Something happened. The state changes first, so that an action may drive the other machine.

        Raises:
            MissingTransitionError: the table has no cell for it.
        """
        cell = self._table.get((self.state, event))
        if cell is None:
            raise MissingTransitionError(f"{self._name} {self.state}: no cell for {event!s}")
        self.state, action = cell
        method: Callable[[], None] = getattr(self, f"_{action}")
        method()

    def _nothing(self) -> None:
        """What the table says for most events."""


def mermaid(table: Mapping[tuple[State, Event], tuple[State, str]]) -> str:
    """Draw a table as a Mermaid state diagram: the arrows that change the state or do something."""
    rows = ["stateDiagram-v2"]
    for (state, event), (target, action) in table.items():
        if state is not target or action != NOTHING:
            rows.append(f"    {state} --> {target}: {event}" + ("" if action == NOTHING else f" / {action}"))
    return "\n".join(rows)
