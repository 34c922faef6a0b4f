"""What the relay does when: a TOML list of steps, each with its moment and the toxics in use from then on.

    [[step]]
    at_s = 5
    toxics = [{ type = "latency", latency_ms = 200, jitter_ms = 50, direction = "down" }]

Each step replaces the toxics of the one before; `toxics = []` is a healthy line again.
"""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Final, get_args

import msgspec
from msgspec import Meta, Struct

from pipeline.proving.catalogue import Toxic
from pipeline.vocabulary.configuration import printable, read
from pipeline.vocabulary.errors import ConfigurationError, Problem
from pipeline.vocabulary.records import convert_records, field_problem, kinds_of, parse_record, record_problem

MAX_STEPS: Final = 10_000
"""More is no script of a person."""
MAX_TOXICS: Final = 16
"""At work at once; there are seventeen kinds."""

_KINDS: Final[dict[str, type[Toxic]]] = kinds_of(get_args(Toxic))


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
    return convert_records(trees, _KINDS, "toxic", at_most=MAX_TOXICS)


def parse_toxic(text: str) -> Toxic:
    """A toxic as on the command line: `latency latency_ms=200 jitter_ms=50`.

    Raises:
        ConfigurationError: names the toxic and the field.
    """
    return parse_record(text, _KINDS, "toxic")


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
        if problem := record_problem(f"{where}, toxic {place}", toxic, _KINDS, "toxic"):
            yield problem
    if problem := field_problem(where, {**step, "toxics": []}, Step):
        yield problem
