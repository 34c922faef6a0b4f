"""`talkwire run`: the daemon."""

import os
import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress
from functools import partial

import trio

from pipeline.app import run_endpoint
from pipeline.cli.interruption import perform
from pipeline.cli.notices import NoticePrinter, json_line, text_line
from pipeline.cli.options import Config, Json, Lifeline, Set, hold_lifeline
from pipeline.edges.interfaces import CommandSource
from pipeline.edges.keys import read_api_key
from pipeline.edges.terminal import TerminalKeys
from pipeline.vocabulary.configuration import load
from pipeline.vocabulary.errors import NothingHeardError, TalkwireError
from pipeline.vocabulary.settings import Settings
from pipeline.vocabulary.signals import Command, Secret, Stop


def run(*, config: Config = (), set_: Set = (), json: Json = False, lifeline: Lifeline = None) -> int:
    """Run the endpoint: hold spoken conversations until told to stop.

    States go to stdout, one line each; what was said only to a terminal or with --json, for no log should keep it. In
    push-to-talk mode at a terminal, Enter begins to talk and Enter ends it. Ctrl-C hangs up, a second one at once.
    """
    hold_lifeline(lifeline)
    settings = load(config, set_)
    key = read_api_key(os.environ)
    at_terminal = sys.stdout is not None and sys.stdout.isatty()
    printer = NoticePrinter(json_line if json else partial(text_line, with_speech=at_terminal))
    has_keys = settings.turn.mode == "push_to_talk" and sys.stdin is not None and sys.stdin.isatty()
    operator = Operator()
    work = partial(_hold, settings, key, printer, operator, TerminalKeys() if has_keys else None)
    return perform(work, stop=operator.stop)


class Operator:
    """Who steers the call (CommandSource): the signal to stop, and a talk key if there is one."""

    def __init__(self) -> None:
        self._sender, self._receiver = trio.open_memory_channel[Command](1)

    def stop(self) -> None:
        """Hang up."""
        with suppress(trio.WouldBlock):  # the call takes no commands any more; the deadline ends it
            self._sender.send_nowait(Stop())

    async def pass_on(self, source: CommandSource) -> None:
        """Let another source steer as well."""
        async with aclosing(source.commands()) as commands:
            async for command in commands:
                await self._sender.send(command)

    async def commands(self) -> AsyncGenerator[Command, None]:
        """Yield commands as they come."""
        async for command in self._receiver:
            yield command


async def _hold(
    settings: Settings, key: Secret | None, printer: NoticePrinter, operator: Operator, keys: CommandSource | None
) -> None:
    failures: list[TalkwireError] = []
    async with trio.open_nursery() as printing:
        printing.start_soon(printer.run)
        try:
            async with trio.open_nursery() as steering:
                if keys is not None:
                    steering.start_soon(operator.pass_on, keys)
                await run_endpoint(settings, key=key, notify=printer.notify, commands=operator)
                steering.cancel_scope.cancel()
        except* TalkwireError as group:  # raised again once the last notices are printed
            failures += [leaf for leaf in group.exceptions if isinstance(leaf, TalkwireError)]
        finally:
            printer.close()
    if failures:
        raise failures[0]
    if printer.nothing_heard:
        raise NothingHeardError("nothing was heard: no speech in what the microphone gave")
