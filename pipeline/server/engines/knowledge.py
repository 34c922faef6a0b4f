"""The knowledge file of the local server: what may be asked and what is answered. Pure: tables in, records out."""

from collections.abc import Mapping
from typing import Final

import msgspec

from pipeline.vocabulary.configuration import printable
from pipeline.vocabulary.errors import ConfigurationError, Problem

MAX_ENTRIES: Final = 500  # a desk knows tens; at this many a question still takes only milliseconds
MAX_PHRASINGS: Final = 50  # per entry
MAX_PHRASING_CHARACTERS: Final = 200
MAX_ANSWER_CHARACTERS: Final = 600  # 40 s of speech: more is a lecture


class Entry(msgspec.Struct, frozen=True):
    """One thing that is known: how people ask for it, and what is said then."""

    name: str
    phrasings: tuple[str, ...]
    answer: str


class Knowledge(msgspec.Struct, frozen=True):
    """A whole knowledge file.

    Attributes:
        unknown: answer to a question that fits no entry.
        unheard: answer to an utterance without words.
        entries: in the order of the file.
    """

    unknown: str
    unheard: str
    entries: tuple[Entry, ...]


def check_knowledge(tables: Mapping[str, object], source: str) -> Knowledge:
    """The records of a knowledge file, from its TOML tables.

    Args:
        tables: what the file holds.
        source: the file's name, for messages.

    Raises:
        ConfigurationError: with every problem of the file at once, each under its path (`entries.lift.phrasings[2]`).
    """
    check = _Check(source)
    check.keys("", tables, ("unknown", "unheard", "entries"))
    knowledge = Knowledge(
        unknown=check.text("unknown", tables.get("unknown"), MAX_ANSWER_CHARACTERS),
        unheard=check.text("unheard", tables.get("unheard"), MAX_ANSWER_CHARACTERS),
        entries=check.entries(tables.get("entries")),
    )
    if check.problems:
        raise ConfigurationError(check.problems)
    return knowledge


class _Check:
    """Reads values of unknown shape and notes each one that cannot be used."""

    def __init__(self, source: str) -> None:
        self._source = source
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
        self.keys(path, table, ("phrasings", "answer"))
        phrasings = self._phrasings(f"{path}.phrasings", table.get("phrasings"))
        return Entry(name, phrasings, self.text(f"{path}.answer", table.get("answer"), MAX_ANSWER_CHARACTERS))

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
        self.problems.append(Problem(path, f"{message} ({self._source})"))


def plain_words(text: str) -> str:
    """The text as the search compares it: lower case, words only, one space between them."""
    kept = (letter if letter.isalnum() else "" if letter in "'\u2019" else " " for letter in text.casefold())
    return " ".join("".join(kept).split())
