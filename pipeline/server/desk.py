"""What the parts of one conversation share: settings, items, the moment, and a tray for what goes out. Pure."""

from collections.abc import Callable

from pipeline.realtime import events
from pipeline.realtime.codec import ClientEventError
from pipeline.server.items import Items
from pipeline.server.work import Effect

Output = events.ServerEvent | Effect


class Desk:
    """One conversation's desk.

    Args:
        session: the settings in force.
        new_id: makes a fresh id from a prefix ("item" → "item_…").

    Attributes:
        now: the moment of the input that is being answered, in s.
        out: what it has led to so far, in order.
    """

    def __init__(self, session: events.Session, new_id: Callable[[str], str]) -> None:
        self.session = session
        self.new_id = new_id
        self.items = Items()
        self.now = 0.0
        self.out: list[Output] = []

    def put(self, *outputs: Output) -> None:
        """Say or do something, after what was put before."""
        self.out += outputs

    def complain(self, error: ClientEventError) -> None:
        """Tell the client what was wrong; the session goes on."""
        self.put(events.ErrorEvent(event_id=self.event_id(), error=error.body()))

    def event_id(self) -> str:
        """The id of the next event."""
        return self.new_id("event")

    def item_id(self) -> str:
        """An id no item has: clients name items too, and may name one as we would."""
        while self.items.find(item_id := self.new_id("item")) is not None:
            pass
        return item_id

    def taken(self) -> list[Output]:
        """Everything put since the last time."""
        out, self.out = self.out, []
        return out
