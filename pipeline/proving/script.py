"""What the relay does when: a TOML list of steps, each with its moment and the toxics in use from then on.

    [[step]]
    at_s = 5
    toxics = [{ type = "latency", latency_ms = 200, jitter_ms = 50, direction = "down" }]

Each step replaces the toxics of the one before; `toxics = []` is a healthy line again.
"""

import re
import tomllib
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, get_args

import msgspec
from msgspec import Meta, Struct

from pipeline.proving.catalogue import Toxic
from pipeline.vocabulary.configuration import printable, read
from pipeline.vocabulary.errors import ConfigurationError, Problem

MAX_STEPS: Final = 10_000
"""More is no script of a person."""
MAX_TOXICS: Final = 16
"""At work at once; there are seventeen kinds."""

_KINDS: Final = {str(kind.__struct_config__.tag): kind for kind in get_args(Toxic)}


class Step(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """From `at_s` on, counted from when the relay listens, these toxics and no others."""

    at_s: Annotated[float, Meta(ge=0, le=604_800)] = 0.0
    toxics: tuple[Toxic, ...] = ()


def read_script(path: Path) -> list[Step]:
    """The steps of a script file.

    Raises:
        ConfigurationError: lists every problem with the step and the field it is in.
    """
    tree = read(path)
    steps = tree.get("step")
    if tree.keys() != {"step"} or not isinstance(steps, list):
        raise ConfigurationError([Problem("", f"{printable(path.name)} must hold [[step]] tables and nothing else")])
    if len(steps) > MAX_STEPS:
        raise ConfigurationError([Problem("step", f"there are more than {MAX_STEPS:,}")])
    problems = [problem for number, step in enumerate(steps, 1) for problem in _step_problems(number, step)]
    if problems:
        raise ConfigurationError(problems)
    made = msgspec.convert(steps, list[Step])
    for number, (before, after) in enumerate(pairwise(made), 2):
        if after.at_s < before.at_s:
            raise ConfigurationError([Problem(f"step {number}, at_s", "must not be before the step above it")])
    return made


def parse_toxics(trees: object) -> tuple[Toxic, ...]:
    """A list of toxics as tables, as a step holds them.

    Raises:
        ConfigurationError: lists every toxic that is wrong with its place, its type and the field.
    """
    if not isinstance(trees, list) or len(trees) > MAX_TOXICS:
        raise ConfigurationError([Problem("toxics", f"must be a list of at most {MAX_TOXICS} tables")])
    problems = [_toxic_problem(f"toxic {place}", tree) for place, tree in enumerate(trees, 1)]
    if wrong := [problem for problem in problems if problem]:
        raise ConfigurationError(wrong)
    return msgspec.convert(trees, tuple[Toxic, ...])


def parse_toxic(text: str) -> Toxic:
    """A toxic as on the command line: `latency latency_ms=200 jitter_ms=50`.

    Raises:
        ConfigurationError: names the toxic and the field.
    """
    kind, *fields = text.split() or [""]
    tree: dict[str, object] = {"type": kind}
    for field in fields:
        name, equals, value = field.partition("=")
        if not equals or name in tree:
            problem = "must be name=value" if not equals else "is given twice"
            raise ConfigurationError([Problem(f"toxic {printable(kind)}, {printable(name)}", problem)])
        tree[name] = _number_or_text(value)
    if wrong := _toxic_problem(f"toxic {printable(kind)}", tree):
        raise ConfigurationError([wrong])
    toxic: Toxic = msgspec.convert(tree, Toxic)
    return toxic


def _number_or_text(value: str) -> object:
    try:
        return tomllib.loads(f"value = {value}")["value"]
    except (ValueError, RecursionError):  # a word: direction=up
        return value


def _step_problems(number: int, step: Any) -> Iterator[Problem]:
    where = f"step {number}"
    if not isinstance(step, dict):
        yield Problem(where, "must be a table")
        return
    toxics = step.get("toxics", [])
    if not isinstance(toxics, list) or len(toxics) > MAX_TOXICS:
        yield Problem(f"{where}, toxics", f"must be a list of at most {MAX_TOXICS} tables")
        return
    for place, toxic in enumerate(toxics, 1):
        if problem := _toxic_problem(f"{where}, toxic {place}", toxic):
            yield problem
    if problem := _problem(where, {**step, "toxics": []}, Step):
        yield problem


def _toxic_problem(where: str, tree: object) -> Problem | None:
    kind = tree.get("type") if isinstance(tree, Mapping) else None
    if isinstance(kind, str) and kind in _KINDS:
        return _problem(f"{where}, {kind}" if not where.endswith(kind) else where, tree, _KINDS[kind])
    near = get_close_matches(str(kind), _KINDS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(_KINDS)}"
    return Problem(f"{where}, type", f"is not a toxic; {hint}")


def _problem(where: str, tree: object, kind: type[Struct]) -> Problem | None:
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
