"""What is said to a tool server and what it says, sans IO: JSON-RPC, alone or in server-sent events.

Source: Model Context Protocol, 2025-06-18, "Transports", "Lifecycle" and "Tools".
"""

from collections.abc import Iterator
from typing import Any, Final

import msgspec

from pipeline.realtime.events import Json
from pipeline.vocabulary.errors import ProtocolError, WireError

VERSION: Final = "2025-06-18"
VERSIONS: Final = {"2025-03-26", VERSION, "2025-11-25"}
"""All that we speak: what we use of them is the same."""
SESSION_HEADER: Final = "Mcp-Session-Id"
VERSION_HEADER: Final = "MCP-Protocol-Version"
INITIALIZE: Final = {
    "protocolVersion": VERSION,
    "capabilities": {},
    "clientInfo": {"name": "talkwire", "version": "1"},
}
MAX_ANSWER_BYTES: Final = 256 * 1024
"""Of one request, and of all pages of a list; with the lists of a session (64) it bounds what these take."""
MAX_OUTPUT_CHARACTERS: Final = 65_536
"""As of any item."""
MAX_MESSAGE_CHARACTERS: Final = 500
MAX_DEPTH: Final = 64
"""Of the schemas in a list; they are sent on inside events."""
PARSE_ERROR: Final = -32700
INVALID_PARAMS: Final = -32602


class RefusedByToolError(WireError):
    """The tool was called, and says itself that it failed."""


class _Listed(msgspec.Struct):
    name: str
    input_schema: Json = msgspec.field(name="inputSchema")
    description: str | None = None
    annotations: Json | None = None


class _Page(msgspec.Struct):
    tools: list[_Listed]
    next_cursor: str | None = msgspec.field(name="nextCursor", default=None)


class _Content(msgspec.Struct):
    type: str
    text: str | None = None


class _CallResult(msgspec.Struct):
    content: list[_Content] = []
    structured: Json | None = msgspec.field(name="structuredContent", default=None)
    is_error: bool = msgspec.field(name="isError", default=False)


class _RpcError(msgspec.Struct):
    code: int
    message: str


def request(number: int, method: str, params: Json) -> bytes:
    """A request, to be answered by a message with the same number."""
    return msgspec.json.encode({"jsonrpc": "2.0", "id": number, "method": method, "params": params})


def notification(method: str) -> bytes:
    """What nobody answers."""
    return msgspec.json.encode({"jsonrpc": "2.0", "method": method})


def arguments_of(text: str) -> Json:
    """The arguments of a call, from the JSON text a brain has written.

    Raises:
        ProtocolError: it is no JSON object, so nobody was called.
    """
    try:
        return msgspec.json.decode(text, type=Json)
    except (msgspec.DecodeError, RecursionError):
        raise _rpc_error(INVALID_PARAMS, "the arguments are no JSON object") from None


def page_of(result: Json) -> tuple[list[Json], str | None]:
    """The tools on a page of a list, as an item shows them, and where the next page begins.

    Raises:
        ProtocolError: it is no list of tools.
    """
    page = _converted(result, _Page)
    tools: list[Json] = [
        {
            key: value
            for key in ("name", "input_schema", "description", "annotations")
            if (value := getattr(tool, key)) is not None
        }
        for tool in page.tools
    ]
    if _is_deeper(tools, MAX_DEPTH):
        raise nonsense(f"a list deeper than {MAX_DEPTH} levels")
    return tools, page.next_cursor


def output_of(result: Json) -> str:
    """What a tool has answered: its texts, or its structured content if there are none.

    Raises:
        RefusedByToolError: the tool says that it failed.
        ProtocolError: it is no answer of a tool.
    """
    answer = _converted(result, _CallResult)
    texts = [part.text for part in answer.content if part.type == "text" and part.text is not None]
    output = "\n".join(texts)
    if not texts and answer.structured is not None:
        output = msgspec.json.encode(answer.structured).decode()
    if answer.is_error:
        raise RefusedByToolError(output[:MAX_MESSAGE_CHARACTERS] or "the tool failed", cause="tool")
    if len(output) > MAX_OUTPUT_CHARACTERS:
        raise RefusedByToolError(f"the tool answered more than {MAX_OUTPUT_CHARACTERS} characters", cause="size")
    return output


def error_of(failed: WireError) -> Json:
    """What the item of a call that failed shows."""
    kind, _, code = failed.cause.partition("_")
    if kind in {"status", "rpc"}:
        shown = "http_error" if kind == "status" else "protocol_error"
        return {"type": shown, "code": int(code), "message": failed.message}
    return {"type": "tool_execution_error", "message": failed.message}


def nonsense(what: str) -> ProtocolError:
    """The server has sent something else than it should."""
    return _rpc_error(PARSE_ERROR, f"the tool server sent {what}")


class AnswerReader:
    """Reads the body of one response until it holds the answer to request `number`.

    Requests and notifications of the server on the way are passed over.
    """

    def __init__(self, content_type: str, number: int) -> None:
        self._is_stream = content_type.partition(";")[0].strip().lower() == "text/event-stream"
        self._number = number
        self._rest = b""
        self._data: list[bytes] = []
        self._size = 0

    def feed(self, received: bytes) -> Json | None:
        """The answer's result, if this completes a stream's event that holds it.

        Raises:
            ProtocolError: the answer is an error, or no JSON-RPC, or too large.
        """
        self._size += len(received)
        if self._size > MAX_ANSWER_BYTES:
            raise nonsense(f"more than {MAX_ANSWER_BYTES // 1024} KiB")
        self._rest += received
        if not self._is_stream:
            return None
        *lines, self._rest = self._rest.split(b"\n")
        for event in self._events(lines):
            if (result := self._result(event)) is not None:
                return result
        return None

    def end(self) -> Json:
        """The answer's result, when the body is complete.

        Raises:
            ProtocolError: it is an error, or no JSON-RPC, or there is none.
        """
        result = None if self._is_stream else self._result(self._rest)
        if result is None:
            raise nonsense("no answer")
        return result

    def _events(self, lines: list[bytes]) -> Iterator[bytes]:
        for line in lines:
            field, _, value = line.rstrip(b"\r").partition(b":")
            if field == b"data":
                self._data.append(value)
            elif not field and not value and self._data:
                yield b"\n".join(self._data)
                self._data = []

    def _result(self, message: bytes) -> Json | None:
        try:
            value = msgspec.json.decode(message)
        except (msgspec.DecodeError, RecursionError):
            raise nonsense("no JSON") from None
        for each in value if isinstance(value, list) else [value]:
            if isinstance(each, dict) and each.get("id") == self._number and "method" not in each:
                if "error" in each:
                    error = _converted(each["error"], _RpcError)
                    raise _rpc_error(error.code, error.message[:MAX_MESSAGE_CHARACTERS])
                result: Json = _converted(each.get("result"), Json)
                return result
        return None


def _converted(value: Any, kind: Any) -> Any:
    try:
        return msgspec.convert(value, kind)
    except msgspec.ValidationError as flaw:
        raise nonsense(f"an answer that is none: {flaw}") from None


def _rpc_error(code: int, message: str) -> ProtocolError:
    return ProtocolError(message, cause=f"rpc_{code}")


def _is_deeper(value: Any, levels: int) -> bool:
    inner = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inner)
