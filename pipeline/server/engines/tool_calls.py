"""The client's functions for a brain without understanding: which it must call, with what, what to say then. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from pipeline.realtime.events import Tool
from pipeline.server.engines.interfaces import Ask
from pipeline.server.engines.knowledge import FIELD, MAX_ANSWER_CHARACTERS

BY_TYPE: Final[Mapping[str, object]] = {
    "integer": 0,
    "number": 0,
    "boolean": False,
    "array": [],
    "object": {},
    "null": None,
}


def functions(ask: Ask) -> dict[str, Tool]:
    """The functions the client offers, by name; tool servers of other kinds are not ours to call."""
    return {tool.name: tool for tool in ask.tools if tool.type == "function" and tool.name}


def forced_tool(ask: Ask) -> Tool | None:
    """The function that has to be called whatever was asked, the first of several; None if none has to."""
    offered = functions(ask)
    if ask.tool_choice == "required":
        return next(iter(offered.values()), None)
    return None if ask.tool_choice in {"auto", "none"} else offered.get(ask.tool_choice)


def best_effort(tool: Tool, question: str) -> str:
    """Arguments (JSON text) for a function nobody told us about: its required fields, filled by their schema.

    A text gets the user's words, a choice its first option, anything else its default or the emptiest value.
    """
    schema = tool.parameters if isinstance(tool.parameters, dict) else {}
    return msgspec.json.encode(dict(_required(schema, question))).decode()


def _required(schema: Mapping[str, Any], question: str) -> Iterator[tuple[str, object]]:
    properties, required = schema.get("properties"), schema.get("required")
    if not isinstance(properties, dict) or not isinstance(required, list):
        return
    for name in required:
        if isinstance(name, str) and isinstance(field := properties.get(name), dict):
            yield name, _value(field, question)


def _value(field: Mapping[str, Any], question: str) -> object:
    match field:
        case {"const": value} | {"default": value} | {"enum": [value, *_]} | {"minimum": value}:
            return value
        case {"type": str(kind)}:
            return BY_TYPE.get(kind, question)
    return question


def filled(reply: str, output: str) -> str | None:
    """The reply with the fields of a tool's output filled in; None if one is missing or the tool failed.

    Args:
        reply: with a `{field}` wherever one is wanted; `{output}` is the whole output, unless it has a field so called.
        output: JSON text or any other. An object with an `error` says that the tool failed.
    """
    value = _decoded(output)
    fields = value if isinstance(value, dict) else {}
    if fields.get("error"):
        return None
    said = {name: _said(fields.get(name, value if name == "output" else None)) for name in FIELD.findall(reply)}
    if not all(said.values()):
        return None
    return FIELD.sub(lambda found: said[found[1]], reply)[:MAX_ANSWER_CHARACTERS]


def _decoded(output: str) -> object:
    try:
        return msgspec.json.decode(output)
    except (msgspec.DecodeError, RecursionError):
        return output


def _said(value: object) -> str:
    """A JSON value as it is spoken; empty if nobody would understand it."""
    match value:
        case bool():
            return "yes" if value else "no"
        case str():
            return value.strip()
        case int():
            return str(value)
        case float():
            return str(int(value)) if value.is_integer() else str(value)
        case list():
            return ", ".join(filter(None, map(_said, value)))
    return ""
