"""Tagged records that people write: in TOML tables, in JSON, or as `kind name=value` on a command line.

A record's class is told by its field `type`. What is wrong is said with the record and the field it is in.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from typing import TypeVar

import msgspec
from msgspec import Struct

from pipeline.vocabulary.configuration import printable
from pipeline.vocabulary.errors import ConfigurationError, Problem

RecordT = TypeVar("RecordT", bound=Struct)

Kinds = Mapping[str, type[RecordT]]
"""Classes of records by their tag."""


def kinds_of(classes: Iterable[type[RecordT]]) -> dict[str, type[RecordT]]:
    """The classes by their tag, in the order given."""
    return {str(kind.__struct_config__.tag): kind for kind in classes}


def parse_record(text: str, kinds: Kinds[RecordT], noun: str) -> RecordT:
    """A record as on a command line: `latency latency_ms=200 jitter_ms=50`.

    Args:
        text: its kind, then its fields; a value is TOML, and a word may stand without quotes.
        kinds: what there is.
        noun: what such a record is called, for messages: "toxic".

    Raises:
        ConfigurationError: names the record and the field.
    """
    kind, *fields = text.split() or [""]
    where = f"{noun} {printable(kind)}"
    tree: dict[str, object] = {"type": kind}
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals or name in tree:
            problem = "must be name=value" if not equals else "is given twice"
            raise ConfigurationError([Problem(f"{where}, {printable(name)}", problem)])
        tree[name] = _number_or_text(value)
    if wrong := record_problem(where, tree, kinds, noun):
        raise ConfigurationError([wrong])
    return msgspec.convert(tree, kinds[kind])


def convert_records(tree: object, kinds: Kinds[RecordT], noun: str, *, at_most: int) -> tuple[RecordT, ...]:
    """A list of tables as records.

    Raises:
        ConfigurationError: lists every problem with the record's place and the field it is in.
    """
    if not isinstance(tree, list) or len(tree) > at_most:
        raise ConfigurationError([Problem(f"{noun}s", f"must be a list of at most {at_most} tables")])
    found = [record_problem(f"{noun} {place}", record, kinds, noun) for place, record in enumerate(tree, 1)]
    if problems := [problem for problem in found if problem]:
        raise ConfigurationError(problems)
    return tuple(msgspec.convert(record, kinds[record["type"]]) for record in tree)


def record_problem(where: str, tree: object, kinds: Kinds[RecordT], noun: str) -> Problem | None:
    """The first thing wrong with a table that is to be one of `kinds`; `where` tells people which table it is."""
    kind = tree.get("type") if isinstance(tree, Mapping) else None
    if isinstance(kind, str) and kind in kinds:
        return field_problem(f"{where}, {kind}" if not where.endswith(kind) else where, tree, kinds[kind])
    near = get_close_matches(str(kind), kinds, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(kinds)}"
    return Problem(f"{where}, type", f"is not a {noun}; {hint}")


def field_problem(where: str, tree: object, kind: type[Struct]) -> Problem | None:
    """The first thing wrong with a table; msgspec says what, its path or its quotes say in which field."""
    try:
        msgspec.convert(tree, kind)
    except msgspec.ValidationError as error:
        message, _, path = str(error).partition(" - at `$")
        field = path.strip(".`")
        if unknown := re.search(r"unknown field `(.*)`", message):
            known = ", ".join(kind.__struct_fields__) or "none"
            return Problem(f"{where}, {printable(unknown[1])}", f"unknown field; known: {known}")
        if missing := re.search(r"missing required field `(.*)`", message):
            return Problem(f"{where}, {missing[1]}", "is missing")
        return Problem(f"{where}, {field}" if field else where, message[:1].lower() + message[1:].replace("`", ""))
    return None


def _number_or_text(value: str) -> object:
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):  # a word: direction=up
        return value
