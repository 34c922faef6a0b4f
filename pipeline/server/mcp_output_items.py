"""The items a response makes of a tool server's tool: the call, or the request to approve one. Pure."""

from collections.abc import Iterator

import msgspec

from pipeline.realtime.events import (
    Item,
    Json,
    ResponseMcpCallArgumentsDelta,
    ResponseMcpCallArgumentsDone,
    ResponseMcpCallCompleted,
    ResponseMcpCallFailed,
    ResponseMcpCallInProgress,
    ServerEvent,
)
from pipeline.server import work
from pipeline.server.desk import Desk
from pipeline.server.output_items import OutputItem, Place
from pipeline.server.toolbox import Offer


class McpCallOutput(OutputItem):
    """A call that this server makes itself, as soon as its arguments are whole; `text` are these.

    begin → arguments → run → succeed or fail; `fail` at any time before. `approval_request_id` names who allowed it.
    """

    audio_ms = 0.0

    def __init__(self, desk: Desk, place: Place, offer: Offer, approval_request_id: str | None = None) -> None:
        self._offer = offer
        self._is_running = False
        self.text = ""
        item = Item(
            type="mcp_call",
            id=desk.item_id(),
            server_label=offer.server.server_label,
            name=offer.name,
            arguments="",
            approval_request_id=approval_request_id,
        )
        super().__init__(desk, place, item)

    def begin(self) -> Iterator[ServerEvent]:
        """The item."""
        yield from self._begin(self.item)

    def arguments(self, text: str) -> Iterator[ServerEvent]:
        """More of the arguments' JSON text."""
        self.text += text
        yield ResponseMcpCallArgumentsDelta(delta=text, **self._part())

    def run(self) -> Iterator[ServerEvent | work.Effect]:
        """The arguments are whole: make the call."""
        yield from self._end_arguments()
        yield ResponseMcpCallInProgress(**self._state())
        yield work.CallTool(self._place.response_id, self.id, self._offer.server, self._offer.name, self.text)

    def succeed(self, output: str) -> Iterator[ServerEvent]:
        """The tool has answered."""
        yield ResponseMcpCallCompleted(**self._state())
        yield from self._end(msgspec.structs.replace(self.item, output=output))

    def fail(self, error: Json) -> Iterator[ServerEvent]:
        """The tool will not answer."""
        if not self._is_running:
            yield from self._end_arguments()
        yield ResponseMcpCallFailed(**self._state())
        yield from self._end(msgspec.structs.replace(self.item, error=error))

    def _end_arguments(self) -> Iterator[ServerEvent]:
        self._is_running = True
        self.item = msgspec.structs.replace(self.item, arguments=self.text)
        yield ResponseMcpCallArgumentsDone(arguments=self.text, **self._part())

    def _state(self) -> Json:
        return {"event_id": self._desk.event_id(), "item_id": self.id, "output_index": self._place.output_index}


class ApprovalOutput(OutputItem):
    """A request to approve a call; its arguments are told when they are whole, for there are no events for a part."""

    audio_ms = 0.0

    def __init__(self, desk: Desk, place: Place, offer: Offer) -> None:
        self.offer = offer
        self.text = ""
        item = Item(
            type="mcp_approval_request",
            id=desk.item_id(),
            server_label=offer.server.server_label,
            name=offer.name,
            arguments="",
        )
        super().__init__(desk, place, item)

    def begin(self) -> Iterator[ServerEvent]:
        """The item."""
        yield from self._begin(self.item)

    def arguments(self, text: str) -> Iterator[ServerEvent]:
        """More of the arguments' JSON text."""
        self.text += text
        yield from ()

    def end(self, _status: str) -> Iterator[ServerEvent]:
        """The item, whole or as far as it came; only a whole one can be approved."""
        yield from self._end(msgspec.structs.replace(self.item, arguments=self.text))
