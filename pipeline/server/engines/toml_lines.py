"""Says in which line of a TOML text each value stands: `tomllib` knows only where it stopped to understand. Pure."""

import re
import tomllib
from collections.abc import Iterator
from typing import Final, NamedTuple

from pipeline.vocabulary.configuration import printable

_TOKEN: Final = re.compile(
    r'''
      (?P<string> """ (?:[^\\]|\\.)*? """"{0,2} | \'\'\' .*? \'\'\'\'{0,2} | " (?:[^"\\]|\\.)* " | ' [^']* ' )
    | (?P<end> \n )
    | (?P<mark> [\[\]{}=,.] )
    | (?P<nothing> [\ \t\r]+ | \#[^\n]* )
    | (?P<bare> [^\s\[\]{}=,.\#"']+ )
    ''',
    re.VERBOSE | re.DOTALL,
)


class _Token(NamedTuple):
    text: str
    line: int
    is_mark: bool  # else a part of a key or a value, which may look like one: "["


def lines_of(text: str) -> dict[str, int]:
    """Path of every table, value and list item (`entries.lift.phrasings[2]`) → its line, counted from 1.

    Args:
        text: what `tomllib` accepts; of anything else the result is without meaning.
    """
    return _Reader(text).lines


class _Reader:
    """Walks over the tokens once. It trusts the text: what could be wrong was found before."""

    def __init__(self, text: str) -> None:
        self.lines: dict[str, int] = {}
        self._tokens = [*_tokens(text), _Token("\n", 0, is_mark=True)]
        self._at = 0
        table = ""
        lists: dict[str, int] = {}
        while self._at < len(self._tokens):
            if self._take("\n"):
                continue
            if self._take("["):
                is_list = self._take("[")
                table, line = self._key("")
                self.lines.setdefault(table, line)
                if is_list:
                    lists[table] = lists.get(table, -1) + 1
                    table = f"{table}[{lists[table]}]"
                    self.lines.setdefault(table, line)
                while self._take("]"):
                    pass
            else:
                self._pair(table)

    def _pair(self, table: str) -> None:
        path, line = self._key(table)
        self._take("=")
        self._value(path, line)

    def _key(self, table: str) -> tuple[str, int]:
        """A dotted key below this table, and the line it stands in."""
        path, line = table, self._tokens[self._at].line
        while True:
            part = self._tokens[self._at].text
            self._at += 1
            name = tomllib.loads(f"{part}=0").popitem()[0]
            path = f"{path}.{printable(name)}" if path else printable(name)
            if not self._take("."):
                return path, line

    def _value(self, path: str, line: int) -> None:
        self.lines.setdefault(path, line)
        if self._take("["):
            place = 0
            while not self._take("]"):
                if not (self._take("\n") or self._take(",")):
                    self._value(f"{path}[{place}]", self._tokens[self._at].line)
                    place += 1
        elif self._take("{"):
            while not self._take("}"):
                if not (self._take("\n") or self._take(",")):
                    self._pair(path)
        else:
            while not self._is_mark(",", "]", "}", "\n"):
                self._at += 1

    def _is_mark(self, *marks: str) -> bool:
        token = self._tokens[self._at]
        return token.is_mark and token.text in marks

    def _take(self, mark: str) -> bool:
        """Step over this mark, if it is what comes next."""
        found = self._at < len(self._tokens) and self._is_mark(mark)
        self._at += found
        return found


def _tokens(text: str) -> Iterator[_Token]:
    line = 1
    for found in _TOKEN.finditer(text):
        if found.lastgroup != "nothing":
            yield _Token(found[0], line, is_mark=found.lastgroup in {"mark", "end"})
        line += found[0].count("\n")
