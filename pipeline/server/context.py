"""From the items of a conversation to what a brain is asked. Pure."""

from collections.abc import Iterable, Iterator
from itertools import groupby

import msgspec

from pipeline.realtime.events import Item, ToolChoice
from pipeline.server.engines.interfaces import Ask, Line
from pipeline.server.items import pictures_of, text_of
from pipeline.server.toolbox import Toolbox


def ask(items: Iterable[Item], *, instructions: str, toolbox: Toolbox, tool_choice: str | ToolChoice | None) -> Ask:
    """The question to a brain: what was said and done, how to answer, and what may be called."""
    tools, choice = toolbox.chosen(tool_choice)
    return Ask(lines=tuple(_lines(items, toolbox)), instructions=instructions, tools=tuple(tools), tool_choice=choice)


def _lines(items: Iterable[Item], toolbox: Toolbox) -> Iterator[Line]:
    for is_call, group in groupby(items, key=lambda item: item.type == "mcp_call"):
        if is_call:  # calls that were made together stand together, and so do their outputs
            calls = list(group)
            yield from (_mcp_call(item, toolbox) for item in calls)
            yield from (_mcp_output(item) for item in calls if item.output is not None or item.error is not None)
        else:
            yield from (line for item in group if (line := _line(item, toolbox)) is not None)


def _line(item: Item, toolbox: Toolbox) -> Line | None:
    """None for what has nothing to say: an answer whose words were forgotten when it was cut off."""
    text = text_of(item)
    match item.type:
        case "function_call":
            return Line("call", item.arguments or "", name=item.name or "", call_id=item.call_id or "")
        case "function_call_output":
            return Line("output", item.output or "", call_id=item.call_id or "")
        case "mcp_approval_request":
            return _mcp_call(item, toolbox)
        case "mcp_approval_response" if not item.approve:
            refused = item.reason or "The user did not approve this call."
            return Line("output", _failure(refused), call_id=item.approval_request_id or "")
        case "message" if item.role == "system":
            return Line("system", text)
        case "message" if item.role == "user":
            return Line("user", text, images=pictures_of(item))
        case "message" if text:
            return Line("assistant", text)
        case _:
            return None


def _mcp_call(item: Item, toolbox: Toolbox) -> Line:
    name = toolbox.name_of(item.server_label or "", item.name or "")
    return Line("call", item.arguments or "", name=name, call_id=item.id or "")


def _mcp_output(item: Item) -> Line:
    output = item.output or "" if item.error is None else _failure(item.error["message"])
    return Line("output", output, call_id=item.id or "")


def _failure(message: str) -> str:
    return msgspec.json.encode({"error": message}).decode()
