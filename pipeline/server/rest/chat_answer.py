"""A chat completion as it grows: the brain's pieces in, deltas out, the whole message at the end. Pure."""

import re
from typing import Final, Literal

from msgspec import Struct

from pipeline.server.engines.interfaces import Arguments, Ask, Call, Piece, Words
from pipeline.server.ids import new_id
from pipeline.server.items import count_tokens

_WORD: Final = re.compile(r"\s*\S+|\s+")


class Function(Struct, omit_defaults=True):
    """A call, or the part of one that a delta adds; `arguments` is JSON text."""

    arguments: str
    name: str = ""


class ToolCall(Struct):
    """A call in a whole message."""

    id: str
    function: Function
    type: Literal["function"] = "function"


class ToolCallDelta(Struct, omit_defaults=True):
    """What a delta adds to the call at `index`; id, type and name come with its first."""

    index: int
    function: Function
    id: str | None = None
    type: str | None = None


class Delta(Struct, omit_defaults=True):
    """What one event adds to the message."""

    role: str | None = None
    content: str | None = None
    tool_calls: list[ToolCallDelta] | None = None


class Message(Struct):
    """The whole answer."""

    content: str | None
    tool_calls: list[ToolCall] | None
    role: Literal["assistant"] = "assistant"
    refusal: None = None


class Usage(Struct):
    """Words and punctuation marks, read and written: this server has no tokenizer."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int


class ChatAnswer:
    """One answer.

    Args:
        limit: tokens it may have; None for as many as it takes.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit
        self._tokens = 0
        self._content = ""
        self._calls: list[ToolCall] = []
        self.is_cut = False
        """It has reached its limit; the rest is not wanted."""

    def take(self, piece: Piece) -> Delta:
        """Add what the brain says next, as far as the limit lets it."""
        match piece:
            case Words(text):
                added = self._within_limit(text)
                self._content += added
                return Delta(content=added)
            case Call(name):
                call = ToolCall(new_id("call"), Function("", name))
                self._calls.append(call)
                return self._call_delta(Function("", name), call)
            case Arguments(text):
                added = self._within_limit(text)
                self._calls[-1].function.arguments += added
                return self._call_delta(Function(added))

    def message(self) -> Message:
        """All of it."""
        return Message(self._content or None, self._calls or None)

    def finish_reason(self) -> str:
        """Why it ends here."""
        if self.is_cut:
            return "length"
        return "tool_calls" if self._calls else "stop"

    def usage(self, ask: Ask) -> Usage:
        """What question and answer cost."""
        read = sum(count_tokens(line.text) for line in ask.lines)
        return Usage(read, self._tokens, read + self._tokens)

    def _call_delta(self, function: Function, begun: ToolCall | None = None) -> Delta:
        index = len(self._calls) - 1
        if begun is None:
            return Delta(tool_calls=[ToolCallDelta(index, function)])
        return Delta(tool_calls=[ToolCallDelta(index, function, begun.id, begun.type)])

    def _within_limit(self, text: str) -> str:
        """The text up to the last whole word that the limit has room for."""
        if self._limit is None:
            self._tokens += count_tokens(text)
            return text
        kept = ""
        for word in _WORD.findall(text):
            tokens = count_tokens(word)
            if self._tokens + tokens > self._limit:
                self.is_cut = True
                break
            self._tokens += tokens
            kept += word
        return kept
