"""What several commands share: options, the lifeline to whoever started them, the line that says they are ready."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, Token

from pipeline.cli import say
from pipeline.runtime import lifeline
from pipeline.vocabulary.configuration import printable


def whole(_: object, tokens: Sequence[Token]) -> int:
    """A whole number, as a converter: cyclopts by itself takes 1.5 and makes it 1."""
    try:
        return int(tokens[0].value)
    except ValueError:
        raise ValueError(f"expected a whole number, got {printable(tokens[0].value)}.") from None


Config = Annotated[
    tuple[Path, ...],
    Parameter(
        name="--config",
        negative=(),
        show_default=False,
        help="A settings file over the shipped one; may be repeated, later files win.",
    ),
]
Set = Annotated[
    tuple[str, ...],
    Parameter(
        name="--set",
        negative=(),
        show_default=False,
        help="section.key=value over every file, for example audio.volume=0.5; may be repeated.",
    ),
]
Json = Annotated[
    bool, Parameter(name="--json", negative=(), show_default=False, help="One JSON object per line instead of text.")
]
Port = Annotated[
    int | None,
    Parameter(
        name="--port", converter=whole, negative=(), show_default=False, help="Listen on this port; 0 takes a free one."
    ),
]
Lifeline = Annotated[int | None, Parameter(name="--lifeline", show=False)]


def hold_lifeline(parent: int | None) -> None:
    """End with the process `parent`, which started this one; nothing if nobody is named."""
    if parent is not None:
        lifeline.hold_lifeline(parent)


def port_override(section: str, port: int | None) -> list[str]:
    """`--port N` as the setting it stands for."""
    return [] if port is None else [f"{section}.port={port}"]


def announce(url: str, event: str, port: int, *, json: bool) -> None:
    """Say on stdout how far a server is: "listening" or "ready". `url` has a place for the port."""
    line = f'{{"event":"{event}","port":{port}}}' if json else f"{event}: {url.format(port=port)}"
    say(line)
