"""Who steers the call that `talkwire run` holds, and what it says at the end."""

import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
import trio
import trio.testing

from pipeline.cli import run as run_module
from pipeline.cli.notices import NoticePrinter, json_line
from pipeline.cli.run import Daemon, Operator
from pipeline.edges.control_socket import ControlSocket, open_control_socket
from pipeline.edges.interfaces import CommandSource
from pipeline.runtime.health import Health
from pipeline.vocabulary.configuration import load
from pipeline.vocabulary.errors import NothingHeardError
from pipeline.vocabulary.settings import Settings
from pipeline.vocabulary.signals import Command, FinishedNotice, Notice, PressTalk, ReleaseTalk, Secret, Stop


@pytest.fixture
def control() -> Iterator[ControlSocket]:
    with TemporaryDirectory() as folder, open_control_socket(Path(folder)) as opened:
        yield opened


class Keys:
    async def commands(self) -> AsyncGenerator[Command, None]:
        yield PressTalk()
        yield ReleaseTalk()
        await trio.sleep_forever()


async def test_key_and_signal_both_steer(autojump_clock: trio.testing.MockClock) -> None:
    operator = Operator()
    received: list[Command] = []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(operator.pass_on, Keys())
        async with aclosing(operator.commands()) as commands:
            async for command in commands:
                received.append(command)
                if len(received) == 2:
                    operator.stop()
                    operator.stop()  # a second one before the first was taken is the same wish
                if command == Stop():
                    break
        nursery.cancel_scope.cancel()
    assert received == [PressTalk(), ReleaseTalk(), Stop()]


@pytest.mark.parametrize("heard", [True, False])
async def test_a_call_that_heard_nothing_says_so(
    heard: bool,  # noqa: FBT001 - a parameter of the test
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    control: ControlSocket,
) -> None:
    async def endpoint(
        settings: Settings,
        *,
        key: Secret | None,
        notify: Callable[[Notice], None],
        commands: CommandSource,
        health: Health,
        control: ControlSocket,
    ) -> None:
        assert (settings, key, health, control) == (given, None, daemon.health, daemon_control)
        async with aclosing(commands.commands()) as given_commands:
            assert await anext(given_commands) == PressTalk()
        notify(FinishedNotice(0, heard_speech=heard, frames={}))
        await trio.lowlevel.checkpoint()

    given, daemon_control = load(), control
    monkeypatch.setattr(run_module, "run_endpoint", endpoint)
    daemon = Daemon(given, load, None, NoticePrinter(json_line), control)
    if heard:
        await daemon.hold(Keys())
    else:
        with pytest.raises(NothingHeardError, match="nothing was heard"):
            await daemon.hold(Keys())
    assert '"event":"finished"' in capfd.readouterr().out


PROGRAM = """
import gc
from pipeline.cli import run
run.perform = lambda *_, **__: print(gc.get_freeze_count()) or 0
run.run()
"""


def test_what_the_start_made_is_kept_from_the_collector(tmp_path: Path) -> None:
    environ = {**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)}
    frozen = subprocess.run([sys.executable, "-c", PROGRAM], env=environ, capture_output=True, check=True, text=True)
    assert int(frozen.stdout) > 10_000, "trio alone is more"
