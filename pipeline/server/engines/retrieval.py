"""The brain that answers from the knowledge file, with the help of functions that the client offers.

It understands nothing: it finds the entry that the question is most like. So it cannot follow instructions, neither
those of the session nor of one response, and it looks at no picture.
"""

import itertools
from collections.abc import AsyncGenerator, Iterator
from typing import Any, Final

import msgspec

from pipeline.server.engines.interfaces import Arguments, Ask, Call, Line, Piece, Words
from pipeline.server.engines.knowledge import Entry, plain_words
from pipeline.server.engines.knowledge_file import KnowledgeFile
from pipeline.server.engines.search import Search
from pipeline.server.engines.tool_calls import best_effort, filled, forced_tool, functions

ARGUMENTS_PIECE: Final = 16  # characters, as many as a few tokens


class RetrievalBrain:
    """`Brain` over a knowledge file."""

    def __init__(self, file: KnowledgeFile) -> None:
        self._file = file

    async def answer(self, ask: Ask) -> AsyncGenerator[Piece, None]:
        """The answer to the last thing the user said, or what to say about the output of the functions just called."""
        for piece in respond(await self._file.search(), ask):
            yield piece


def respond(search: Search, ask: Ask) -> Iterator[Piece]:
    """The answer, decided. A function that has to be called goes before everything else, as the service has it."""
    found = search.find(ask.question).entry
    if name := _tool_to_call(found, ask):
        yield Call(name)
        arguments = _arguments(name, search, ask)
        for start in range(0, len(arguments), ARGUMENTS_PIECE):
            yield Arguments(arguments[start : start + ARGUMENTS_PIECE])
    elif outputs := _last_outputs(ask):
        yield Words(" ".join(_said_about(output, search, ask) for output in outputs))
    else:
        yield Words(_answer(found, search, ask))


def _tool_to_call(found: Entry | None, ask: Ask) -> str | None:
    forced = forced_tool(ask)
    if forced is None and (ask.tool_choice == "none" or _last_outputs(ask)):
        return None
    meant = found.tool_use.tool if found and found.tool_use else None
    if meant in functions(ask) and ask.tool_choice in {"auto", "required"}:
        return meant
    return forced.name if forced else None


def _arguments(name: str, search: Search, ask: Ask) -> str:
    entry = _entry_using(name, search, ask)
    if entry is None or entry.tool_use is None:
        return best_effort(functions(ask)[name], ask.question)
    return msgspec.json.encode(_with_question(entry.tool_use.arguments, ask.question)).decode()


def _answer(found: Entry | None, search: Search, ask: Ask) -> str:
    asked = next((line for line in reversed(ask.lines) if line.role == "user"), None)
    if asked is None:
        return search.knowledge.greeting
    if not plain_words(asked.text) and not asked.images:
        return search.knowledge.unheard
    return found.answer if found else search.knowledge.unknown


def _last_outputs(ask: Ask) -> list[Line]:
    return [*itertools.takewhile(lambda line: line.role == "output", reversed(ask.lines))][::-1]


def _said_about(output: Line, search: Search, ask: Ask) -> str:
    called = next((line.name for line in ask.lines if line.role == "call" and line.call_id == output.call_id), "")
    entry = _entry_using(called, search, ask)
    if entry is None or entry.tool_use is None:
        return filled("{output}", output.text) or search.knowledge.unknown
    return filled(entry.tool_use.reply, output.text) or entry.answer


def _entry_using(tool: str, search: Search, ask: Ask) -> Entry | None:
    """The entry that calls this function: the one the question means, else the first."""
    meant = search.find(ask.question).entry
    candidates = [meant, *search.knowledge.entries] if meant else search.knowledge.entries
    return next((entry for entry in candidates if entry.tool_use and entry.tool_use.tool == tool), None)


def _with_question(value: Any, question: str) -> Any:
    """JSON values with `{question}` replaced by what the user said."""
    match value:
        case str():
            return value.replace("{question}", question)
        case list():
            return [_with_question(inner, question) for inner in value]
        case dict():
            return {key: _with_question(inner, question) for key, inner in value.items()}
    return value
