"""What a session does with tool servers: lists and calls under way, each of which may be given up."""

from collections.abc import Callable

import structlog
import trio

from pipeline.server import work
from pipeline.server.mcp_client import call_tool, list_tools
from pipeline.server.mcp_wire import error_of
from pipeline.vocabulary.errors import WireError

_log = structlog.get_logger("talkwire.server")


class ToolWork:
    """Performs what a conversation asks of tool servers; results go to `report`."""

    def __init__(self, report: Callable[[work.ToolResult], None]) -> None:
        self._report = report
        self._calls: dict[str, trio.CancelScope] = {}

    def perform(self, wanted: work.ToolWork, nursery: trio.Nursery) -> None:
        """Begin or give up; the work itself is done in `nursery`."""
        match wanted:
            case work.ListTools():
                nursery.start_soon(self._list, wanted)
            case work.CallTool(item_id=item_id):
                self._calls[item_id] = trio.CancelScope()
                nursery.start_soon(self._call, wanted)
            case work.StopCalling(item_id):
                self._calls[item_id].cancel()

    async def _list(self, wanted: work.ListTools) -> None:
        try:
            tools = await list_tools(wanted.server)
        except WireError as failed:
            # What the server said itself is not logged: it may repeat what opens it.
            _log.warning("a tool server gave no list", server=wanted.server.server_label, cause=failed.cause)
            self._report(work.ListingFailed(wanted.item_id))
        else:
            self._report(work.ToolsListed(wanted.item_id, tools))

    async def _call(self, wanted: work.CallTool) -> None:
        with self._calls[wanted.item_id]:
            try:
                output = await call_tool(wanted.server, wanted.name, wanted.arguments)
            except WireError as failed:
                self._report(work.ToolFailed(wanted.response_id, wanted.item_id, error_of(failed)))
            else:
                self._report(work.ToolAnswered(wanted.response_id, wanted.item_id, output))
        del self._calls[wanted.item_id]
