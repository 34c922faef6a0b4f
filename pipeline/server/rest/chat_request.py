"""What a client asks of `POST /v1/chat/completions`, and the same as a brain is asked it. Pure."""

from collections.abc import Iterator
from typing import Annotated, Literal

from msgspec import Meta, Struct

from pipeline.realtime.events import Json, Tool
from pipeline.server.engines.interfaces import Ask, Line
from pipeline.server.rest.refusal import RequestRefusedError


class ImageUrl(Struct, frozen=True):
    """A picture, as a data URI or an address."""

    url: str


class ContentPart(Struct, frozen=True):
    """One part of a message."""

    type: Literal["text", "refusal", "image_url"]
    text: str = ""
    refusal: str = ""
    image_url: ImageUrl | None = None


class Function(Struct, frozen=True):
    """What is called; its arguments are JSON text."""

    name: str
    arguments: str


class ToolCall(Struct, frozen=True):
    """A call the assistant made earlier."""

    id: str
    function: Function
    type: Literal["function"] = "function"


class Message(Struct, frozen=True):
    """One turn. Fields this server has no use for are let pass: clients send back the messages they were given."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: str | list[ContentPart] | None = None
    tool_calls: list[ToolCall] | None = None
    tool_call_id: str = ""


class FunctionTool(Struct, frozen=True):
    """A function as the client describes it; `parameters` is a JSON schema."""

    name: str
    description: str | None = None
    parameters: Json | None = None
    strict: bool | None = None


class ChatTool(Struct, frozen=True):
    """A function the client offers."""

    type: Literal["function"]
    function: FunctionTool


class FunctionName(Struct, frozen=True):
    """Names a function."""

    name: str


class ChosenTool(Struct, frozen=True):
    """The one function that has to be called."""

    type: Literal["function"]
    function: FunctionName


class TextFormat(Struct, frozen=True):
    """The only format there is: a brain promises no schema."""

    type: Literal["text"]


class StreamOptions(Struct, frozen=True):
    """What else is streamed; `include_obfuscation` pads events against listeners, which is not done here."""

    include_usage: bool = False
    include_obfuscation: bool | None = None


class ChatRequest(Struct, frozen=True, forbid_unknown_fields=True):
    """The body. What would change the shape of the answer and is not here is refused as unknown.

    The fields behind `stream_options` say how to sample, pay and remember; a brain has its own ways, so they are hints
    it does not take.
    """

    messages: Annotated[list[Message], Meta(min_length=1)]
    model: str
    tools: list[ChatTool] = []
    tool_choice: Literal["auto", "none", "required"] | ChosenTool = "auto"
    max_completion_tokens: Annotated[int, Meta(ge=1)] | None = None
    max_tokens: Annotated[int, Meta(ge=1)] | None = None
    n: Literal[1] | None = None
    modalities: list[Literal["text"]] | None = None
    response_format: TextFormat | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None
    temperature: Annotated[float, Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, Meta(ge=0, le=1)] | None = None
    presence_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    frequency_penalty: Annotated[float, Meta(ge=-2, le=2)] | None = None
    seed: int | None = None
    parallel_tool_calls: bool | None = None
    reasoning_effort: str | None = None
    verbosity: str | None = None
    service_tier: str | None = None
    store: bool | None = None
    metadata: dict[str, str] | None = None
    user: str | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None

    @property
    def limit(self) -> int | None:
        """Tokens the answer may have."""
        return self.max_tokens if self.max_completion_tokens is None else self.max_completion_tokens

    @property
    def includes_usage(self) -> bool:
        """The stream ends with what the answer cost."""
        return self.stream_options is not None and self.stream_options.include_usage


def ask_of(request: ChatRequest) -> Ask:
    """The question to a brain.

    Raises:
        RequestRefusedError: a tool's answer belongs to no call, or the chosen tool is not offered.
    """
    return Ask(
        lines=tuple(_lines(request.messages)),
        tools=tuple(_tool(tool.function) for tool in request.tools),
        tool_choice=_choice(request),
    )


def _lines(messages: list[Message]) -> Iterator[Line]:
    called: set[str] = set()
    for number, message in enumerate(messages):
        text = _text(message.content)
        match message.role:
            case "system" | "developer":
                yield Line("system", text)
            case "user":
                yield Line("user", text, images=_pictures(message.content))
            case "assistant":
                if text:
                    yield Line("assistant", text)
                for call in message.tool_calls or ():
                    called.add(call.id)
                    yield Line("call", call.function.arguments, name=call.function.name, call_id=call.id)
            case "tool":
                if message.tool_call_id not in called:
                    complaint = "A message with role 'tool' must answer a preceding message with 'tool_calls'."
                    raise RequestRefusedError(400, "invalid_value", complaint, f"messages[{number}].tool_call_id")
                yield Line("output", text, call_id=message.tool_call_id)


def _text(content: str | list[ContentPart] | None) -> str:
    if isinstance(content, list):
        return "\n".join(part.text or part.refusal for part in content if part.type != "image_url")
    return content or ""


def _pictures(content: str | list[ContentPart] | None) -> tuple[str, ...]:
    parts = content if isinstance(content, list) else []
    return tuple(part.image_url.url for part in parts if part.image_url is not None)


def _tool(function: FunctionTool) -> Tool:
    return Tool(type="function", name=function.name, description=function.description, parameters=function.parameters)


def _choice(request: ChatRequest) -> str:
    if isinstance(request.tool_choice, str):
        return request.tool_choice
    name = request.tool_choice.function.name
    if name not in {tool.function.name for tool in request.tools}:
        message = f"The tool '{name}' is not among the tools offered."
        raise RequestRefusedError(400, "invalid_value", message, "tool_choice")
    return name
