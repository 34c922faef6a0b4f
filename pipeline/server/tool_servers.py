"""The tool servers (MCP) of one conversation: asked once for what they have, as soon as a client names them. Pure.

A list is an item of the conversation, and its events tell how it goes. A server is asked again only if its definition
has changed, or if it gave no list and is named again.
"""

from collections.abc import Iterable, Iterator
from typing import Final

import msgspec

from pipeline.realtime.codec import ClientEventError
from pipeline.realtime.events import (
    ConversationItemAdded,
    ConversationItemDone,
    Item,
    Json,
    McpListToolsCompleted,
    McpListToolsFailed,
    McpListToolsInProgress,
    Tool,
)
from pipeline.server import work
from pipeline.server.desk import Desk
from pipeline.server.tool_settings import is_allowed

MAX_LISTS: Final = 64
"""In one session: it bounds what is under way, and with the size of a list what is kept."""


class _Listing(msgspec.Struct):
    server: Tool
    item: Item
    previous_item_id: str | None
    tools: list[Json] | None = None
    """None as long as they are awaited."""


class ToolServers:
    """Which servers were asked, and what they have."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._listings: dict[str, _Listing] = {}  # by the id of the list's item
        self._asked = 0

    def check(self, tools: Iterable[Tool]) -> None:
        """Whether the servers among these tools may be asked.

        Raises:
            ClientEventError: that would be too many lists for one session.
        """
        if self._asked + len(self._unknown(tools)) > MAX_LISTS:
            message = f"A session may ask for {MAX_LISTS} lists of tools; open another one."
            raise ClientEventError("rate_limit_exceeded", message)

    def ask(self, tools: Iterable[Tool]) -> None:
        """A client has named these tools: ask the servers among them that are not known.

        Raises:
            ClientEventError: as `check`; none is asked.
        """
        new = self._unknown(tools)
        self.check(new)
        self._asked += len(new)
        for server in new:
            self._list(server)

    def awaited(self, tools: Iterable[Tool]) -> set[str]:
        """Ids of the lists of these tools that are not known yet."""
        wanted = list(tools)
        return {
            item_id for item_id, listing in self._listings.items() if listing.tools is None and listing.server in wanted
        }

    def listed(self, tools: Iterable[Tool]) -> Iterator[tuple[Tool, Json]]:
        """What the servers among these tools have, as far as it is known."""
        for server in tools:
            for listing in self._listings.values():
                if listing.server == server:
                    yield from ((server, tool) for tool in listing.tools or [])

    def settle(self, result: work.ToolsListed | work.ListingFailed) -> None:
        """A server has answered, or will not."""
        listing = self._listings[result.item_id]
        event_id = self._desk.event_id
        match result:
            case work.ToolsListed(item_id, tools):
                listing.tools = [tool for tool in tools if is_allowed(listing.server, tool)]
                listing.item = msgspec.structs.replace(listing.item, tools=listing.tools)
                self._desk.items.replace(listing.item)
                self._desk.put(McpListToolsCompleted(event_id=event_id(), item_id=item_id))
            case work.ListingFailed(item_id):
                del self._listings[item_id]
                self._desk.put(McpListToolsFailed(event_id=event_id(), item_id=item_id))
        self._desk.put(
            ConversationItemDone(event_id=event_id(), item=listing.item, previous_item_id=listing.previous_item_id)
        )

    def _unknown(self, tools: Iterable[Tool]) -> list[Tool]:
        known = [listing.server for listing in self._listings.values()]
        return [tool for tool in tools if tool.type == "mcp" and tool not in known]

    def _list(self, server: Tool) -> None:
        item_id, event_id = self._desk.item_id(), self._desk.event_id
        item = Item(type="mcp_list_tools", id=item_id, server_label=server.server_label, tools=[])
        before = self._desk.items.append(item)
        self._listings[item_id] = _Listing(server, item, before)
        self._desk.put(
            McpListToolsInProgress(event_id=event_id(), item_id=item_id),
            ConversationItemAdded(event_id=event_id(), item=item, previous_item_id=before),
            work.ListTools(item_id, server),
        )
