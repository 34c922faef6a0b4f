"""`talkwire run`: the daemon."""

import os
import sys
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing, suppress
from functools import partial

import trio

from pipeline.app import run_endpoint
from pipeline.cli.interruption import perform
from pipeline.cli.life_signs import LifeSigns
from pipeline.cli.notices import NoticePrinter, json_line, text_line
from pipeline.cli.options import Config, Json, Lifeline, Set, hold_lifeline
from pipeline.cli.reloading import is_hung_up_by_terminal, reload_on_hangup
from pipeline.edges.control_socket import ControlSocket, open_control_socket
from pipeline.edges.interfaces import CommandSource
from pipeline.edges.keys import read_api_key
from pipeline.edges.runtime_directory import only_instance, runtime_directory
from pipeline.edges.service_manager import ServiceManager
from pipeline.edges.terminal import TerminalKeys
from pipeline.runtime.garbage import freeze_start
from pipeline.runtime.health import Health
from pipeline.vocabulary.configuration import load
from pipeline.vocabulary.errors import NothingHeardError, TalkwireError
from pipeline.vocabulary.settings import Settings
from pipeline.vocabulary.signals import Command, Notice, Secret, Stop


def run(*, config: Config = (), set_: Set = (), json: Json = False, lifeline: Lifeline = None) -> int:
    """Run the endpoint: hold spoken conversations until told to stop.

    States go to stdout, one line each; what was said only to a terminal or with --json, for no log should keep it. In
    push-to-talk mode at a terminal, Enter begins to talk and Enter ends it. Ctrl-C hangs up, a second one at once.
    SIGHUP reads the settings again: what can be used at once is, the rest is named.
    """
    hold_lifeline(lifeline)
    settings = load(config, set_)
    key = read_api_key(os.environ)
    at_terminal = sys.stdout is not None and sys.stdout.isatty()
    printer = NoticePrinter(json_line if json else partial(text_line, with_speech=at_terminal))
    has_keys = settings.turn.mode == "push_to_talk" and sys.stdin is not None and sys.stdin.isatty()
    directory = runtime_directory(settings.runtime.directory, os.environ)
    with only_instance(directory), open_control_socket(directory) as control:
        daemon = Daemon(settings, partial(load, config, set_), key, printer, control)
        work = partial(daemon.hold, TerminalKeys() if has_keys else None)
        freeze_start()
        return perform(work, stop=daemon.stop, insist=daemon.health.kill_children)


class Operator:
    """Who steers the call (CommandSource): the signal to stop, the control socket, and a talk key if there is one."""

    def __init__(self) -> None:
        self._sender, self._receiver = trio.open_memory_channel[Command](1)

    def stop(self) -> None:
        """Hang up."""
        with suppress(trio.WouldBlock):  # the call takes no commands any more; the deadline ends it
            self._sender.send_nowait(Stop())

    async def send(self, command: Command) -> None:
        """Steer by one command."""
        await self._sender.send(command)

    async def pass_on(self, source: CommandSource) -> None:
        """Let another source steer as well."""
        async with aclosing(source.commands()) as commands:
            async for command in commands:
                await self.send(command)

    async def commands(self) -> AsyncGenerator[Command, None]:
        """Yield commands as they come."""
        async for command in self._receiver:
            yield command


class Daemon:
    """One run of the endpoint, and all who have to know of it.

    Attributes:
        health: the signs of life of its processes.
    """

    def __init__(
        self,
        settings: Settings,
        read: Callable[[], Settings],
        key: Secret | None,
        printer: NoticePrinter,
        control: ControlSocket,
    ) -> None:
        self.health = Health()
        self._settings = settings
        self._read = read
        self._key = key
        self._printer = printer
        self._control = control
        self._operator = Operator()
        self._manager = ServiceManager(os.environ)
        self._signs = LifeSigns(self._manager, self.health)

    def stop(self) -> None:
        """Hang up."""
        self._signs.stopping()
        self._operator.stop()

    async def hold(self, keys: CommandSource | None) -> None:
        """Hold conversations to their end; `keys` steer them as well. Raises TalkwireError."""
        failures: list[TalkwireError] = []
        async with trio.open_nursery() as printing:
            printing.start_soon(self._printer.run)
            try:
                async with trio.open_nursery() as beside:
                    beside.start_soon(self._signs.run)
                    beside.start_soon(self._operator.pass_on, self._control)
                    if keys is not None:
                        beside.start_soon(self._operator.pass_on, keys)
                    if not is_hung_up_by_terminal():
                        beside.start_soon(self._reload)
                    await run_endpoint(
                        self._settings,
                        key=self._key,
                        notify=self._notify,
                        commands=self._operator,
                        health=self.health,
                        control=self._control,
                    )
                    beside.cancel_scope.cancel()
            except* TalkwireError as group:  # raised again once the last notices are printed
                failures += [leaf for leaf in group.exceptions if isinstance(leaf, TalkwireError)]
            finally:
                self._printer.close()
        if failures:
            raise failures[0]
        if self._printer.nothing_heard:
            raise NothingHeardError("nothing was heard: no speech in what the microphone gave")

    async def _reload(self) -> None:
        await reload_on_hangup(self._settings, self._read, self._operator.send, self._notify, self._manager)

    def _notify(self, notice: Notice) -> None:
        self._printer.notify(notice)
        self._signs.notify(notice)
        self._control.notify(notice)
