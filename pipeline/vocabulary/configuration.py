"""Reading and checking settings: shipped file < `--config FILE` < `--set section.key=value`.

Every problem is reported at once, each with its path and what was expected. A value that is text is never
repeated: a key pasted into the wrong place must not end in a log.
"""

import json
import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import msgspec
from msgspec import inspect

from pipeline.vocabulary.addresses import is_loopback
from pipeline.vocabulary.errors import ConfigurationError, Problem, UsageError
from pipeline.vocabulary.settings import Settings

MAX_FILE_BYTES = 1 << 20  # a settings file is a few KiB; more is the wrong file

_SECTIONS = {
    section.name: {field.name: field.type for field in msgspec.structs.fields(section.type)}
    for section in msgspec.structs.fields(Settings)
}
_PATHS = [f"{section}.{key}" for section, keys in _SECTIONS.items() for key in keys]
_URL_SCHEMES = {  # (for every host, for this machine only)
    "service.url": ("wss", "ws"),
    "token.url": ("https", "http"),
    "server.chat_url": ("https", "http"),
    "tokens.provider_url": ("https", "http"),
}
_MAX_INTEGER = 2**53  # larger whole numbers are no exact floats, and no setting is near
_KINDS = {bool: "true or false", int: "a whole number", float: "a number", str: "text", list: "a list", dict: "a table"}


class Layer(NamedTuple):
    """One source of settings: its name for people (a file name, "--set") and what it holds."""

    source: str
    tree: Mapping[str, object]


def shipped(name: str) -> Path:
    """Where a file of the shipped `config/` folder is: inside an installed wheel, else beside the package."""
    package = Path(__file__).resolve().parents[1]
    installed = package / "_config"
    return (installed if installed.is_dir() else package.parent / "config") / name


def load(files: Sequence[Path] = (), overrides: Sequence[str] = ()) -> Settings:
    """Settings from the shipped file, then `files`, then `section.key=value` overrides; the later wins.

    Raises:
        ConfigurationError: lists every problem of every source.
        UsageError: an override has no `section.key=` in front.
    """
    problems: list[Problem] = []
    layers = []
    for path in [shipped("default.toml"), *files]:
        try:
            layers.append(Layer(printable(path.name), read(path)))
        except ConfigurationError as error:
            problems += error.problems
    for override in overrides:
        try:
            layers.append(Layer("--set", parse_override(override)))
        except ConfigurationError as error:
            problems += error.problems
    return combine(layers, problems)


def read(path: Path) -> dict[str, object]:
    """The TOML tables of one file. Raises ConfigurationError: unreadable, over 1 MiB, not UTF-8 or not TOML."""
    return parse(read_bytes(path), path.name)


def read_bytes(path: Path) -> bytes:
    """The beginning of one file, as much as `parse` takes and a byte more; pipes are read to their end.

    Raises:
        ConfigurationError: unreadable.
    """
    try:
        with path.open("rb") as file:
            return file.read(MAX_FILE_BYTES + 1)
    except (OSError, ValueError) as error:  # ValueError: a path with a null byte
        reason = (isinstance(error, OSError) and error.strerror) or "not a file name"
        raise ConfigurationError([Problem("", f"cannot read {printable(str(path))}: {reason}")]) from error


def parse(raw: bytes, source: str) -> dict[str, object]:
    """The TOML tables in `raw`. Raises ConfigurationError, with the line where there is one."""
    name = printable(source)
    if len(raw) > MAX_FILE_BYTES:
        raise ConfigurationError([Problem("", f"{name} is larger than 1 MiB: not a settings file")])
    try:
        return tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        raise ConfigurationError([Problem("", f"{name} is not UTF-8 text (line {line})")]) from error
    except RecursionError as error:
        raise ConfigurationError([Problem("", f"{name} is nested too deeply to be settings")]) from error
    except ValueError as error:  # TOMLDecodeError, and numbers with thousands of digits
        where = re.search(r"\(at (line \d+|end of document)", str(error))
        last = raw.count(b"\n") + 1
        message = f"{name} is not TOML" + (f" ({where[1]})" if where else "").replace("end", f"line {last}, the end")
        raise ConfigurationError([Problem("", message)]) from error


def parse_override(text: str) -> dict[str, object]:
    """`section.key=value` as a table; the value is TOML, and text may stand without quotes.

    Raises:
        UsageError: no `section.key=` in front.
        ConfigurationError: the value begins like quoted TOML and is none.
    """
    path, equals, value = text.partition("=")
    section, dot, key = path.strip().partition(".")
    if not (equals and dot and section and key):
        raise UsageError("--set wants section.key=value, for example --set audio.frame_ms=40")
    value = value.strip()
    try:
        parsed = tomllib.loads(f"value = {value}")
    except (ValueError, RecursionError) as error:
        if value[:1] in {'"', "'", "[", "{"}:
            where = f"{printable(section)}.{printable(key)}"
            raise ConfigurationError([Problem(where, "the value is not complete TOML (--set)")]) from error
        parsed = {}
    return {section: {key: parsed["value"] if parsed.keys() == {"value"} else value}}


def combine(layers: Sequence[Layer], problems: Sequence[Problem] = ()) -> Settings:
    """Check every layer by itself and lay them over each other, the last on top.

    Raises:
        ConfigurationError: `problems` and all that is wrong in any layer, or missing in all of them.
    """
    found = list(problems)
    merged: dict[str, dict[str, object]] = {section: {} for section in _SECTIONS}
    for layer in layers:
        for section, table in layer.tree.items():
            if section not in _SECTIONS:
                found.append(_unknown_section(section, layer.source))
            elif not isinstance(table, dict):
                found.append(Problem(section, f"expected a table, got {_kind(table)} ({layer.source})"))
            else:
                found += _problems(section, table, layer.source)
                merged[section] |= table
    found += [
        Problem(f"{section}.{key}", "is set nowhere")
        for section, keys in _SECTIONS.items()
        for key in keys
        if key not in merged[section]
    ]
    if found:
        raise ConfigurationError(found)
    return msgspec.convert(merged, Settings)


def printable(text: str) -> str:
    """`text` if it is plain, else quoted, so that a message stays one line and free of terminal codes."""
    return text if text.isprintable() and text else json.dumps(text)


def _problems(section: str, table: Mapping[str, object], source: str) -> Iterator[Problem]:
    for key, value in table.items():
        path = f"{section}.{key}"
        if key not in _SECTIONS[section]:
            yield _unknown_key(section, key, source)
        elif complaint := _complaint(path, value, _SECTIONS[section][key]):
            yield Problem(path, f"{complaint} ({source})")


def _complaint(path: str, value: object, field_type: Any) -> str:
    """What is wrong with one value, or an empty string."""
    if not _fits(value, field_type):
        expected = inspect.type_info(field_type)
        return f"expected {_describe(expected)}, got {_kind(value)}{_nearest(value, expected)}"
    if path in _URL_SCHEMES:
        return _url_complaint(str(value), *_URL_SCHEMES[path])
    if any("\0" in text for text in (value if isinstance(value, list) else [value]) if isinstance(text, str)):
        return "must not hold a null character"
    return "must not be an empty list" if value == [] else ""


def _unknown_section(section: str, source: str) -> Problem:
    near = get_close_matches(section, _SECTIONS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(_SECTIONS)}"
    return Problem(printable(section), f"unknown section; {hint} ({source})")


def _unknown_key(section: str, key: str, source: str) -> Problem:
    """Nearest is a key spelled alike in this section, else the same key of another one."""
    alike = [f"{section}.{near}" for near in get_close_matches(key, _SECTIONS[section], n=1)]
    near = alike or [path for path in _PATHS if path.endswith(f".{key}")]
    hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(_SECTIONS[section])}"
    return Problem(f"{section}.{printable(key)}", f"unknown key; {hint} ({source})")


def _fits(value: object, field_type: Any) -> bool:
    if isinstance(value, float) and not math.isfinite(value):
        return False  # nan passes every comparison with a bound
    if isinstance(value, int) and abs(value) > _MAX_INTEGER:
        return False
    try:
        msgspec.convert(value, field_type)
    except msgspec.ValidationError:
        return False
    return True


def _describe(expected: inspect.Type) -> str:
    """What a value must be, in words."""
    match expected:
        case inspect.IntType(ge=low, le=high, multiple_of=step):
            steps = f" in steps of {step}" if step else ""
            return f"a whole number from {low} to {high}{steps}"
        case inspect.FloatType(gt=None, ge=low, le=high):
            return f"a number from {low:g} to {high:g}"
        case inspect.FloatType(gt=low, le=high):
            return f"a number above {low:g} and at most {high:g}"
        case inspect.StrType(min_length=1, max_length=limit):
            return f"text of 1 to {limit} characters"
        case inspect.StrType(max_length=limit):
            return "text" if limit is None else f"text of at most {limit} characters"
        case inspect.LiteralType(values=values):
            return "one of " + ", ".join(f'"{value}"' for value in values)
        case inspect.ListType():
            return "a list of texts"
        case inspect.UnionType(types=types):
            return " or ".join(map(_describe, types))
    raise AssertionError(f"settings use a type without a description: {expected}")


def _kind(value: object) -> str:
    """What a value is; numbers are shown, text never is."""
    if isinstance(value, int | float) and not isinstance(value, bool):
        return f"{value:.12g}" if isinstance(value, float) or abs(value) <= _MAX_INTEGER else "a huge number"
    return _KINDS.get(type(value), "a date or time")


def _nearest(value: object, expected: inspect.Type) -> str:
    if isinstance(value, str) and isinstance(expected, inspect.LiteralType):
        near = get_close_matches(value, [str(word) for word in expected.values], n=1)
        return f'; did you mean "{near[0]}"?' if near else ""
    return ""


def _url_complaint(url: str, secure: str, plain: str) -> str:
    """What is wrong with a URL, or an empty string. The URL itself is not repeated: it may hold a password."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "is not a URL with a valid host and a port from 1 to 65535"
    if not url.isprintable() or " " in url:
        return "holds spaces or control characters"
    if parts.scheme not in {secure, plain}:
        return f"must begin with {secure}://, or for this machine {plain}://"
    if not host or port == 0:
        return "is not a URL with a valid host and a port from 1 to 65535"
    if "@" in parts.netloc:
        return "must not hold a user name or password"
    if parts.fragment:
        return "must not hold a fragment (#)"
    if parts.scheme == plain and not is_loopback(host):
        return f"must begin with {secure}://: {plain}:// is only for this machine (127.0.0.1, ::1, localhost)"
    return ""
