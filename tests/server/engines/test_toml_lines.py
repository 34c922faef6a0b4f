import json
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.server.engines.toml_lines import lines_of
from pipeline.vocabulary import configuration
from pipeline.vocabulary.configuration import printable

TEXT = '''\
# a comment with = and [brackets]
title = "a # b = [c]"
"quoted key" = 'd'
a.b."c.d" = 1.5  # dotted

[table]
list = [
    "first",  # comment, with a comma
    # "not this one",
    [1, 2], { x = 1, y.z = "}" },
    2026-01-01 10:00:00,
]
long = """
one "two" \\""" three
"""
raw = \'\'\'
\\\'\'\'
[table.inner]
x = { a = [
  1,
] }
[[many]]
n = 1
[[many]]
n = 2
'''


def test_every_value_has_its_line() -> None:
    assert lines_of(TEXT) == {
        "title": 2,
        "quoted key": 3,
        "a.b.c.d": 4,
        "table": 6,
        "table.list": 7,
        "table.list[0]": 8,
        "table.list[1]": 10,
        "table.list[1][0]": 10,
        "table.list[1][1]": 10,
        "table.list[2]": 10,
        "table.list[2].x": 10,
        "table.list[2].y.z": 10,
        "table.list[3]": 11,
        "table.long": 13,
        "table.raw": 16,
        "table.inner": 18,
        "table.inner.x": 19,
        "table.inner.x.a": 19,
        "table.inner.x.a[0]": 20,
        "many": 22,
        "many[0]": 22,
        "many[0].n": 23,
        "many[1]": 24,
        "many[1].n": 25,
    }


def test_line_ends_of_other_systems_and_a_last_line_without_one_are_no_matter() -> None:
    assert lines_of("a = 1\r\nb = [\r\n2]") == {"a": 1, "b": 2, "b[0]": 3}


@pytest.mark.parametrize("name", ["knowledge.toml", "default.toml"])
def test_all_of_a_shipped_file_is_found(name: str) -> None:
    text = configuration.shipped(name).read_text()
    lines, source = lines_of(text), text.splitlines()
    for table, values in tomllib.loads(text).items():
        for key in values if isinstance(values, dict) else ():
            assert key in source[lines[f"{table}.{key}"] - 1]


TEXTS = st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=6)
VALUES = st.recursive(
    TEXTS | st.integers() | st.booleans() | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)


class Writer:
    """Writes tables as TOML, one list item a line, and notes where it put what."""

    def __init__(self) -> None:
        self.text = ""
        self.lines: dict[str, int] = {}

    def pair(self, table: str, key: str, value: Any) -> None:
        self.text += f"{json.dumps(key)} = "
        self._value(f"{table}.{printable(key)}" if table else printable(key), value)

    def _value(self, path: str, value: Any) -> None:
        self.lines.setdefault(path, self.text.count("\n") + 1)
        match value:
            case list():
                self.text += "["
                for place, inner in enumerate(value):
                    self.text += "  # ], [\n"
                    self._value(f"{path}[{place}]", inner)
                    self.text += ","
                self.text += "\n]"
            case dict():
                self.text += "{"
                for place, (key, inner) in enumerate(value.items()):
                    self.text += ", " if place else " "
                    self.pair(path, key, inner)
                self.text += "}"
            case _:
                self.text += json.dumps(value)


@given(tables=st.dictionaries(TEXTS, VALUES, max_size=5))
def test_whatever_toml_can_say_is_found(tables: dict[str, Any]) -> None:
    writer = Writer()
    for key, value in tables.items():
        writer.pair("", key, value)
        writer.text += "\n"
    assert tomllib.loads(writer.text) == tables
    assert lines_of(writer.text) == writer.lines
