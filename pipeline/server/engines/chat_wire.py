"""The wire of `/chat/completions`, sans IO: what is asked in JSON, what is answered as server-sent events."""

from collections.abc import Sequence
from typing import Any, Final

import msgspec

from pipeline.server.engines.interfaces import Arguments, Ask, Call, Line, Piece, Words
from pipeline.server.engines.tool_calls import functions
from pipeline.vocabulary.errors import ProtocolError

Json = dict[str, Any]

MAX_EVENT_BYTES: Final = 1 << 20  # an event holds a word or two; more is no answer to us


def request_body(model: str, ask: Ask) -> bytes:
    """What is posted. Without functions to call none are named: not every service heeds `tool_choice` none."""
    body: Json = {"model": model, "stream": True, "messages": _messages(ask)}
    offered = [] if ask.tool_choice == "none" else [*functions(ask).values()]
    if offered:
        keys = ("name", "description", "parameters")
        described = [{key: value for key in keys if (value := getattr(tool, key)) is not None} for tool in offered]
        body["tools"] = [{"type": "function", "function": function} for function in described]
        named = {"type": "function", "function": {"name": ask.tool_choice}}
        body["tool_choice"] = ask.tool_choice if ask.tool_choice in {"auto", "required"} else named
    return msgspec.json.encode(body)


def _messages(ask: Ask) -> list[Json]:
    if not ask.lines:  # many services answer only a user, so whoever asks without a conversation is one
        return [{"role": "user", "content": ask.instructions}]
    messages: list[Json] = [{"role": "system", "content": ask.instructions}] if ask.instructions else []
    outputs = {line.call_id: line.text for line in ask.lines if line.role == "output"}
    for line in ask.lines:
        if line.role == "call":
            # A service refuses a call without its output, an output without its call, and anything between the two.
            if line.call_id in outputs:
                messages += _call(line, outputs[line.call_id])
        elif line.role != "output":
            messages.append({"role": line.role, "content": _content(line)})
    return messages


def _call(line: Line, output: str) -> Sequence[Json]:
    function = {"name": line.name, "arguments": line.text}
    call = {"id": line.call_id, "type": "function", "function": function}
    return (
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": line.call_id, "content": output},
    )


def _content(line: Line) -> str | list[Json]:
    if not line.images:
        return line.text
    images: list[Json] = [{"type": "image_url", "image_url": {"url": image}} for image in line.images]
    return [{"type": "text", "text": line.text}, *images] if line.text else images


class _Function(msgspec.Struct):
    name: str | None = None
    arguments: str | None = None


class _ToolCall(msgspec.Struct):
    index: int | None = None
    id: str | None = None
    function: _Function | None = None


class _Delta(msgspec.Struct):
    content: str | None = None
    tool_calls: list[_ToolCall] | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None
    finish_reason: str | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []
    error: object = None


_decoder = msgspec.json.Decoder(_Chunk)


class AnswerReader:
    """Reads one streamed answer.

    Attributes:
        finished: the service has said that the answer is complete.
    """

    def __init__(self) -> None:
        self.finished = False
        self._rest = b""
        self._call: _ToolCall | None = None
        self._needs_arguments = False

    def feed(self, received: bytes) -> list[Piece]:
        """The pieces in the events that are now complete.

        Raises:
            ProtocolError: an event is too large or no piece of an answer. The text never shows it.
        """
        *lines, self._rest = (self._rest + received).split(b"\n")
        if len(self._rest) > MAX_EVENT_BYTES:
            raise ProtocolError("sent an event larger than 1 MiB", cause="body")
        return [piece for line in lines if line.startswith(b"data:") for piece in self._event(line[5:].strip())]

    def _event(self, data: bytes) -> list[Piece]:
        if self.finished:
            return []
        if data == b"[DONE]":
            return self._end()
        try:
            chunk = _decoder.decode(data)
        except (msgspec.DecodeError, RecursionError):
            raise ProtocolError("sent an event that is no piece of an answer", cause="body") from None
        if chunk.error:
            raise ProtocolError("reported an error instead of going on", cause="error_event")
        pieces: list[Piece] = []
        for choice in chunk.choices[:1]:
            if choice.delta:
                pieces += [Words(choice.delta.content)] if choice.delta.content else []
                for call in choice.delta.tool_calls or []:
                    pieces += self._tool_call(call)
            if choice.finish_reason:
                pieces += self._end()
        return pieces

    def _tool_call(self, call: _ToolCall) -> list[Piece]:
        """A call begins with its name; what follows may repeat its index or its id, or neither."""
        function = call.function or _Function()
        pieces: list[Piece] = []
        known = self._call
        if known is None or call.index not in {None, known.index} or call.id not in {None, "", known.id}:
            if not function.name:
                raise ProtocolError("sent arguments of no function", cause="body")
            pieces += [*self._no_arguments(), Call(function.name)]
            self._call, self._needs_arguments = call, True
        if function.arguments:
            pieces.append(Arguments(function.arguments))
            self._needs_arguments = False
        return pieces

    def _end(self) -> list[Piece]:
        self.finished = True
        return self._no_arguments()

    def _no_arguments(self) -> list[Piece]:
        """Some services send nothing at all for a function without parameters, which is no JSON."""
        missing, self._needs_arguments = self._needs_arguments, False
        return [Arguments("{}")] if missing else []
