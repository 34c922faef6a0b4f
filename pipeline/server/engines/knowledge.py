"""The knowledge file of the local server: what may be asked and what is answered. Text in, records out."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import msgspec

from pipeline.server.engines.toml_lines import lines_of
from pipeline.vocabulary import configuration
from pipeline.vocabulary.configuration import printable
from pipeline.vocabulary.errors import ConfigurationError, Problem

MAX_ENTRIES: Final = 500  # a desk knows tens; at this many a question still takes only milliseconds
MAX_PHRASINGS: Final = 50  # per entry
MAX_PHRASING_CHARACTERS: Final = 200
MAX_ANSWER_CHARACTERS: Final = 600  # 40 s of speech: more is a lecture
FIELD: Final = re.compile(r"\{([\w-]+)\}")
"""A place in a reply where a field of the tool's output is said: `{temperature}`."""
_TOOL_NAME: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_SENTENCES: Final = ("greeting", "unknown", "unheard")
_ENTRY_KEYS: Final = ("phrasings", "answer", "tool", "arguments", "reply")


class ToolUse(msgspec.Struct, frozen=True):
    """How an entry has a tool do something: a function of the client, or a tool of a tool server.

    Attributes:
        tool: its name.
        arguments: JSON values; `{question}` in a text stands for what the user said.
        reply: what is said then, with a `{field}` wherever one of the tool's output is wanted.
    """

    tool: str
    arguments: dict[str, Any]
    reply: str


class Entry(msgspec.Struct, frozen=True):
    """One thing that is known.

    Attributes:
        name: its table's.
        phrasings: how people ask for it.
        answer: what is said then; with a tool, what is said when the client lacks it or it failed.
        tool_use: the tool to call first, if there is one.
    """

    name: str
    phrasings: tuple[str, ...]
    answer: str
    tool_use: ToolUse | None = None


class Knowledge(msgspec.Struct, frozen=True):
    """A whole knowledge file.

    Attributes:
        greeting: said when the first word is ours.
        unknown: answer to a question that fits no entry.
        unheard: answer to an utterance without words.
        entries: in the order of the file.
    """

    greeting: str
    unknown: str
    unheard: str
    entries: tuple[Entry, ...]


def read_knowledge(path: Path) -> Knowledge:
    """The records of a knowledge file. Raises ConfigurationError: it cannot be read; and as `parse_knowledge` does."""
    return parse_knowledge(configuration.read_bytes(path), path.name)


def parse_knowledge(raw: bytes, source: str) -> Knowledge:
    """The records of a knowledge file.

    Args:
        raw: its bytes.
        source: its name, for messages.

    Raises:
        ConfigurationError: with every problem of the file at once, each with its path (`entries.lift.phrasings[2]`)
            and its line. Of a file that is no TOML only the first is known.
    """
    tables = configuration.parse(raw, source)
    check = _Check()
    check.keys("", tables, (*_SENTENCES, "entries"))
    greeting, unknown, unheard = (check.text(key, tables.get(key), MAX_ANSWER_CHARACTERS) for key in _SENTENCES)
    entries = check.entries(tables.get("entries"))
    if check.problems:
        raise ConfigurationError(_with_lines(check.problems, lines_of(raw.decode("utf-8-sig")), printable(source)))
    return Knowledge(greeting, unknown, unheard, entries)


def _with_lines(problems: list[Problem], lines: Mapping[str, int], source: str) -> list[Problem]:
    """The problems in the order of the file. What is missing is told at the table that should hold it."""
    placed = sorted(((_line(problem.path, lines), problem) for problem in problems), key=lambda each: each[0])
    return [
        Problem(problem.path, f"{problem.message} ({source}{f', line {line}' if line else ''})")
        for line, problem in placed
    ]


def _line(path: str, lines: Mapping[str, int]) -> int:
    """The line of the value at this path, else of what encloses it; 0 for the whole file."""
    while path not in lines:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
        if not path:
            return 0
    return lines[path]


class _Check:
    """Reads values of unknown shape and notes each one that cannot be used."""

    def __init__(self) -> None:
        self._seen: dict[str, str] = {}
        self.problems: list[Problem] = []

    def entries(self, value: object) -> tuple[Entry, ...]:
        if not isinstance(value, dict) or not value:
            self._note("entries", "needs at least one table [entries.NAME] with `phrasings` and `answer`")
            return ()
        if len(value) > MAX_ENTRIES:
            self._note("entries", f"has {len(value)} entries; at most {MAX_ENTRIES} are searched")
            return ()
        return tuple(self._entry(printable(name), table) for name, table in value.items())

    def _entry(self, name: str, table: object) -> Entry:
        path = f"entries.{name}"
        if not isinstance(table, dict):
            self._note(path, "must be a table with `phrasings` and `answer`")
            return Entry(name, (), "")
        self.keys(path, table, _ENTRY_KEYS)
        phrasings = self._phrasings(f"{path}.phrasings", table.get("phrasings"))
        answer = self.text(f"{path}.answer", table.get("answer"), MAX_ANSWER_CHARACTERS)
        return Entry(name, phrasings, answer, self._tool_use(path, table))

    def _tool_use(self, path: str, table: Mapping[str, object]) -> ToolUse | None:
        if "tool" not in table:
            for key in ("arguments", "reply"):
                if key in table:
                    self._note(f"{path}.{key}", "has no meaning without `tool`")
            return None
        tool = table["tool"]
        if not isinstance(tool, str) or not _TOOL_NAME.fullmatch(tool):
            self._note(f"{path}.tool", "must be the name of a function: 1 to 64 letters, digits, dashes or underscores")
        arguments = table.get("arguments", {})
        if isinstance(arguments, dict):
            self._json(f"{path}.arguments", arguments)
        else:
            self._note(f"{path}.arguments", 'must be a table such as { place = "here" }')
        reply = self.text(f"{path}.reply", table.get("reply"), MAX_ANSWER_CHARACTERS)
        if set("{}") & set(FIELD.sub("", reply)):
            self._note(f"{path}.reply", "has a brace that does not enclose the name of a field, as in {temperature}")
        return ToolUse(str(tool), arguments if isinstance(arguments, dict) else {}, reply)

    def _json(self, path: str, value: object) -> None:
        """Note what TOML can say and JSON cannot."""
        if isinstance(value, dict):
            for key, inner in value.items():
                self._json(f"{path}.{printable(key)}", inner)
        elif isinstance(value, list):
            for place, inner in enumerate(value):
                self._json(f"{path}[{place}]", inner)
        elif not isinstance(value, str | int | float) or (isinstance(value, float) and not math.isfinite(value)):
            self._note(path, "can be no argument of a function; put it into quotes")

    def _phrasings(self, path: str, value: object) -> tuple[str, ...]:
        if not isinstance(value, list) or not 1 <= len(value) <= MAX_PHRASINGS:
            self._note(path, f"must be a list of 1 to {MAX_PHRASINGS} texts")
            return ()
        return tuple(self._phrasing(f"{path}[{place}]", phrasing) for place, phrasing in enumerate(value))

    def _phrasing(self, path: str, value: object) -> str:
        text = self.text(path, value, MAX_PHRASING_CHARACTERS)
        plain = plain_words(text)
        if text and not plain:
            self._note(path, "holds no word")
        elif plain and plain in self._seen:
            self._note(path, f"says the same as {self._seen[plain]}, so one of the answers would never be given")
        self._seen.setdefault(plain, path)
        return text

    def text(self, path: str, value: object, max_characters: int) -> str:
        if not isinstance(value, str) or not value.strip():
            self._note(path, "must be a text that is not empty" if value is not None else "is missing")
            return ""
        if len(value) > max_characters:
            self._note(path, f"has {len(value)} characters; at most {max_characters} are allowed")
        return value.strip()

    def keys(self, path: str, table: Mapping[str, object], known: tuple[str, ...]) -> None:
        for key in sorted(table.keys() - set(known)):
            self._note(f"{path}.{printable(key)}".lstrip("."), f"is not known here; known: {', '.join(known)}")

    def _note(self, path: str, message: str) -> None:
        self.problems.append(Problem(path, message))


def plain_words(text: str) -> str:
    """The text as the search compares it: lower case, words only, one space between them."""
    kept = (letter if letter.isalnum() else "" if letter in "'\u2019" else " " for letter in text.casefold())
    return " ".join("".join(kept).split())
