"""`talkwire status`: how the running daemon is."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import msgspec
from cyclopts import Parameter
from rich.console import Console

from pipeline.cli import say
from pipeline.cli.interruption import perform
from pipeline.cli.options import Config, Json, Set
from pipeline.cli.screen import PipedConsole
from pipeline.cli.status_screen import follow, headline, picture
from pipeline.edges.control_client import ControlLine, open_control_line
from pipeline.edges.runtime_directory import runtime_directory
from pipeline.vocabulary.configuration import load
from pipeline.vocabulary.control import SnapshotNotice, StatusAsk, WatchAsk

DEGRADED = 1

Watch = Annotated[
    bool, Parameter(name="--watch", negative=(), show_default=False, help="Go on showing until interrupted.")
]


def status(*, watch: Watch = False, json: Json = False, config: Config = (), set_: Set = ()) -> int:
    """Show how the running daemon is: processes, actors, links, devices and the call.

    The exit code is 0 if all is well, 1 if something is wrong (it says what), and 3 if no daemon answers. With --json
    the snapshot is one line; with --watch as well, every notice of the daemon follows. The daemon is found by its
    runtime.directory, so give the same --config and --set as to talkwire run.
    """
    directory = runtime_directory(load(config, set_).runtime.directory, os.environ)
    if watch:
        return perform(partial(_watch, directory, json=json))
    found: list[SnapshotNotice] = []
    interrupted = perform(partial(_look, directory, found))
    if not found:
        return interrupted
    if json:
        say(msgspec.json.encode(found[0]).decode())
    else:
        _console().print(picture(found[0]))
    return DEGRADED if found[0].troubles else 0


async def _look(directory: Path, found: list[SnapshotNotice]) -> None:
    async with open_control_line(directory) as line:
        await line.ask(StatusAsk())
        found.append(await _snapshot(line))


async def _watch(directory: Path, *, json: bool) -> None:
    console = _console()
    async with open_control_line(directory) as line:
        await line.ask(WatchAsk())
        if json:
            while True:
                say(msgspec.json.encode(await line.hear()).decode())
        if console.is_terminal:
            await follow(partial(_snapshot, line), console)
        told = ""
        while True:
            now = headline(await _snapshot(line))
            if now != told:
                say(now)
                told = now


async def _snapshot(line: ControlLine) -> SnapshotNotice:
    while True:
        message = await line.hear()
        if isinstance(message, SnapshotNotice):
            return message


def _console() -> Console:
    """A terminal as it is; elsewhere nothing is cut off at its edge."""
    return PipedConsole() if sys.stdout is not None and sys.stdout.isatty() else PipedConsole(width=120)
