"""From the items of a conversation to what a brain is asked. Pure."""

from collections.abc import Iterable

from pipeline.realtime.events import Item, Tool, ToolChoice
from pipeline.server.engines.interfaces import Ask, Line
from pipeline.server.items import pictures_of, text_of


def ask(
    items: Iterable[Item], *, instructions: str, tools: Iterable[Tool] | None, tool_choice: str | ToolChoice | None
) -> Ask:
    """The question to a brain: what was said and done, how to answer, and what may be called."""
    return Ask(
        lines=tuple(line for line in map(_line, items) if line is not None),
        instructions=instructions,
        tools=tuple(tools or ()),
        tool_choice=_choice(tool_choice),
    )


def _line(item: Item) -> Line | None:
    """None for what has nothing to say: an answer whose words were forgotten when it was cut off."""
    text = text_of(item)
    match item.type:
        case "function_call":
            return Line("call", item.arguments or "", name=item.name or "", call_id=item.call_id or "")
        case "function_call_output":
            return Line("output", item.output or "", call_id=item.call_id or "")
        case "message" if item.role == "system":
            return Line("system", text)
        case "message" if item.role == "user":
            return Line("user", text, images=pictures_of(item))
        case "message" if text:
            return Line("assistant", text)
        case _:
            return None


def _choice(choice: str | ToolChoice | None) -> str:
    if isinstance(choice, ToolChoice):
        return choice.name or "required"
    return choice or "auto"
