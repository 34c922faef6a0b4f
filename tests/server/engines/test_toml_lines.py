import tomllib

import pytest

from pipeline.server.engines.toml_lines import lines_of
from pipeline.vocabulary import configuration

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
