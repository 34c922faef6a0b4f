"""Calls of tool servers' tools that wait for somebody's approval, and those that were approved. Pure."""

from typing import NamedTuple

from pipeline.realtime.events import Item
from pipeline.server.items import Items
from pipeline.server.toolbox import Offer


class Approved(NamedTuple):
    """A call that may be made now."""

    request_id: str
    offer: Offer
    arguments: str


class Approvals:
    """The requests of one conversation; one whose item was deleted cannot be approved any more."""

    def __init__(self, items: Items) -> None:
        self._items = items
        self._requested: dict[str, Approved] = {}
        self._approved: list[Approved] = []

    @property
    def any_approved(self) -> bool:
        """There are calls to be made."""
        return bool(self._approved)

    @property
    def open_requests(self) -> set[str]:
        """Ids of the requests that nobody has answered."""
        return set(self._requested) & {entry.item.id for entry in self._items}

    def request(self, item_id: str, offer: Offer, arguments: str) -> None:
        """This item asks for an approval."""
        self._requested = {known: self._requested[known] for known in self.open_requests}
        self._requested[item_id] = Approved(item_id, offer, arguments)

    def decide(self, item: Item) -> None:
        """Somebody has answered one of the open requests."""
        request = self._requested.pop(item.approval_request_id or "")
        if item.approve:
            self._approved.append(request)

    def take_approved(self) -> list[Approved]:
        """The calls to be made, once."""
        approved, self._approved = self._approved, []
        return approved
