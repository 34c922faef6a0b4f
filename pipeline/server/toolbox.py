"""What one response may call: the client's functions and the tools of tool servers, each under a name of its own. Pure.

A brain knows names only. A function keeps its name, and so does the first tool of that name; where another has it
already, a tool is called `SERVER__NAME`. What a name of a function cannot hold becomes an underscore.
"""

import re
from collections.abc import Container, Iterable, Sequence
from itertools import chain, count
from typing import Final, NamedTuple

from pipeline.realtime.events import Json, Tool, ToolChoice
from pipeline.server.tool_settings import needs_approval

MAX_NAME_CHARACTERS: Final = 64
"""Of a function, at every chat service."""
_NOT_IN_A_NAME: Final = re.compile(r"[^a-zA-Z0-9_-]")


class Offer(NamedTuple):
    """A tool of a tool server that may be called, after an approval or at once."""

    server: Tool
    name: str
    needs_approval: bool


class Toolbox:
    """Tools by the names the brain knows.

    Args:
        functions: that the client runs itself.
        listed: tools of tool servers, as these list them.
        approvals: whether anybody could approve a call; without, only tools that need no approval are offered.

    Attributes:
        tools: all of them, as functions.
    """

    def __init__(self, functions: Iterable[Tool], listed: Iterable[tuple[Tool, Json]], *, approvals: bool) -> None:
        tools = {tool.name or "": tool for tool in functions}
        self._offers: dict[str, Offer] = {}
        for server, tool in listed:
            offer = Offer(server, tool["name"], needs_approval(server, tool))
            if offer.needs_approval and not approvals:
                continue
            name = _free_name(server.server_label or "", offer.name, tools)
            about = filter(None, (server.server_description, tool.get("description")))
            tools[name] = Tool(
                type="function", name=name, description=" ".join(about) or None, parameters=tool["input_schema"]
            )
            self._offers[name] = offer
        self.tools = tuple(tools.values())

    def offer(self, name: str) -> Offer | None:
        """The tool of a tool server behind this name; None for a function."""
        return self._offers.get(name)

    def name_of(self, server_label: str, tool: str) -> str:
        """The name under which this tool is offered, or would have been."""
        for name, offer in self._offers.items():
            if (offer.server.server_label, offer.name) == (server_label, tool):
                return name
        return _free_name(server_label, tool, ())

    def chosen(self, choice: str | ToolChoice | None) -> tuple[Sequence[Tool], str]:
        """What the brain may call, and whether it must: `auto`, `none`, `required`, or the name of a function."""
        if not isinstance(choice, ToolChoice):
            return self.tools, choice or "auto"
        if choice.type == "function":
            return self.tools, choice.name or "required"
        meant = [
            tool
            for tool in self.tools
            if (offer := self.offer(tool.name or ""))
            and offer.server.server_label == choice.server_label
            and choice.name in {None, offer.name}
        ]
        return (meant, "required") if meant else (self.tools, "auto")  # a server that gave no list can not be made to


def _free_name(server_label: str, tool: str, taken: Container[str]) -> str:
    plain = _NOT_IN_A_NAME.sub("_", tool)
    numbered = (f"{plain[: MAX_NAME_CHARACTERS - 5]}_{number}" for number in count(2))
    wanted = (name[:MAX_NAME_CHARACTERS] for name in (plain, f"{server_label}__{plain}"))
    return next(name for name in chain(wanted, numbered) if name not in taken)
