"""The tools a client may declare: functions that it runs itself, and tool servers (MCP) that this server asks. Pure."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal
from urllib.parse import urlsplit

import msgspec

from pipeline.realtime.client_secrets import is_header_safe, is_private
from pipeline.realtime.codec import ClientEventError
from pipeline.realtime.events import Json, Tool, ToolChoice

MAX_TOOLS: Final = 128
MAX_TOOL_SERVERS: Final = 8
"""Of one session or response; each is a connection of its own."""

_OF_A_FUNCTION: Final = {"type", "name", "description", "parameters"}
_OF_A_SERVER: Final = {
    "type", "server_label", "server_url", "server_description", "authorization", "headers", "allowed_tools",
    "allowed_callers", "require_approval", "defer_loading",
}  # fmt: skip
_LABEL: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9_-]{0,63}")
_HEADER_NAME: Final = re.compile(r"[a-zA-Z0-9!#$%&'*+.^_`|~-]{1,64}")
_HEADER_VALUE: Final = re.compile(r"[!-~]([ -~]{0,4094}[!-~])?")
_OUR_HEADERS: Final = {
    "accept", "accept-encoding", "connection", "content-encoding", "content-length", "content-type", "expect", "host",
    "mcp-protocol-version", "mcp-session-id", "te", "trailer", "transfer-encoding", "upgrade",
}  # fmt: skip
"""Headers that say how a message is sent; a client's own would break it."""


class _Filter(msgspec.Struct, forbid_unknown_fields=True):
    """Some tools of a server: by name, by their promise to change nothing, or both."""

    tool_names: list[str] | None = None
    read_only: bool | None = None

    def fits(self, tool: Json) -> bool:
        promise = (tool.get("annotations") or {}).get("readOnlyHint") is True
        return (self.tool_names is None or tool["name"] in self.tool_names) and self.read_only in {None, promise}


class _Approval(msgspec.Struct, forbid_unknown_fields=True):
    always: _Filter | None = None
    never: _Filter | None = None


_Allowed = list[str] | _Filter | None
_Required = Literal["always", "never"] | _Approval | None
_SHAPES: Final[Mapping[str, Any]] = {
    "allowed_tools": _Allowed,
    "require_approval": _Required,
    "allowed_callers": list[Literal["direct"]] | None,  # there is no program here that could call
    "defer_loading": Literal[False] | None,  # every list is asked for at once
}


def is_allowed(server: Tool, tool: Json) -> bool:
    """Whether this tool (as its server lists it) may be called at all."""
    allowed: _Allowed = msgspec.convert(server.allowed_tools, _Allowed)
    names = _Filter(allowed) if isinstance(allowed, list) else allowed
    return names is None or names.fits(tool)


def needs_approval(server: Tool, tool: Json) -> bool:
    """Whether somebody has to approve a call first; so it is unless the client says `never`."""
    required: _Required = msgspec.convert(server.require_approval, _Required)
    if not isinstance(required, _Approval):
        return required != "never"
    always, never = required.always, required.never
    return (always is not None and always.fits(tool)) or never is None or not never.fits(tool)


def without_secrets(tool: Tool) -> Tool:
    """The tool as it may be shown: nobody but its server is told what opens it."""
    return msgspec.structs.replace(tool, authorization=None, headers=None)


def check_tools(tools: Sequence[Tool], path: str) -> None:
    """The tools of a session or a response.

    Raises:
        ClientEventError: naming the field that cannot be.
    """
    if len(tools) > MAX_TOOLS:
        raise _invalid(path, f"At most {MAX_TOOLS} tools.")
    labels: set[str] = set()
    for index, tool in enumerate(tools):
        here = f"{path}[{index}]"
        match tool.type:
            case "function":
                _check_fields(tool, _OF_A_FUNCTION, here)
                _require(tool.name, f"{here}.name")
            case "mcp":
                _check_server(tool, here)
                assert tool.server_label
                if tool.server_label in labels:
                    raise _invalid(f"{here}.server_label", "Another tool server has it already.")
                labels.add(tool.server_label)
            case _:
                raise _invalid(f"{here}.type", "Supported values are: 'function' and 'mcp'.")
    if len(labels) > MAX_TOOL_SERVERS:
        raise _invalid(path, f"At most {MAX_TOOL_SERVERS} tool servers.")


def check_tool_choice(choice: str | ToolChoice | None, path: str) -> None:
    """Which tool has to be called.

    Raises:
        ClientEventError: it is no choice.
    """
    if isinstance(choice, ToolChoice):
        of_function = choice.type == "function" and choice.name and choice.server_label is None
        if not of_function and not (choice.type == "mcp" and choice.server_label):
            kinds = "{'type': 'function', 'name': ...} or {'type': 'mcp', 'server_label': ...}"
            raise _invalid(path, f"Expected {kinds}.")
    elif choice not in {None, "auto", "none", "required"}:
        raise _invalid(path, "Supported values are: 'auto', 'none', 'required' and one tool.")


def _check_server(server: Tool, path: str) -> None:
    for name in ("connector_id", "tunnel_id"):
        if getattr(server, name) is not None:
            raise _invalid(f"{path}.{name}", "This server reaches tool servers by their 'server_url' only.")
    _check_fields(server, _OF_A_SERVER, path)
    if not _LABEL.fullmatch(_require(server.server_label, f"{path}.server_label")):
        raise _invalid(f"{path}.server_label", "Expected a letter, then letters, digits, dashes and underscores.")
    if not _is_address(_require(server.server_url, f"{path}.server_url")):
        message = "Expected an https URL without user and password; http is for this machine only."
        raise _invalid(f"{path}.server_url", message)
    if server.authorization is not None and not is_header_safe(server.authorization):
        raise _invalid(f"{path}.authorization", "Expected visible ASCII, 4096 characters at most.")
    for name, value in (server.headers or {}).items():
        if not _HEADER_NAME.fullmatch(name) or name.lower() in _OUR_HEADERS or not _HEADER_VALUE.fullmatch(value):
            raise _invalid(f"{path}.headers", "A name or a value cannot be that of a header of the client's.")
    for name, shape in _SHAPES.items():
        try:
            msgspec.convert(getattr(server, name), shape)
        except msgspec.ValidationError as flaw:
            raise _invalid(f"{path}.{name}", f"{str(flaw).partition(' - at ')[0]}.") from None


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    is_web = parts.scheme in {"http", "https"} and bool(parts.hostname) and url.isprintable() and " " not in url
    return is_web and "@" not in parts.netloc and is_private(url)


def _check_fields(tool: Tool, fields: set[str], path: str) -> None:
    for name in tool.__struct_fields__:
        if name not in fields and getattr(tool, name) is not None:
            raise ClientEventError("unknown_parameter", f"Unknown parameter: '{path}.{name}'.", f"{path}.{name}")


def _require(value: str | None, path: str) -> str:
    if not value:
        raise ClientEventError("missing_required_parameter", f"Missing required parameter: '{path}'.", path)
    return value


def _invalid(path: str, message: str) -> ClientEventError:
    return ClientEventError("invalid_value", f"Invalid value: '{path}'. {message}", path)
