"""Starting talkwire's other programs as processes, and leaving none of them behind."""

import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from contextlib import ExitStack, aclosing, asynccontextmanager, suppress
from pathlib import Path

import msgspec
import trio

from pipeline.vocabulary.errors import TalkwireError

STOP_S = 3.0  # s from SIGTERM to SIGKILL; the local server takes up to 2 s to say goodbye
MAX_LINE_BYTES = 1 << 20  # a notice is at most one long transcript; more is not ours
KEPT_ERROR_LINES = 20  # a traceback's end; earlier lines say how it got there
PREFIX = "talkwire: "

Start = Callable[..., "Program"]


class ProgramEndedError(TalkwireError):
    """A program ended that was needed; its own last words and exit code are passed on."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Program:
    """One `talkwire` command in a process of its own, in a process group of its own: Ctrl-C reaches only its parent.

    It reads settings from a pipe, so it can load its libraries while its parent still finds out what they are.
    """

    def __init__(self, name: str, arguments: Sequence[str]) -> None:
        self.name = name
        self.error_lines: deque[str] = deque(maxlen=KEPT_ERROR_LINES)
        with ExitStack() as ours:
            settings, write_end = os.pipe2(os.O_CLOEXEC)
            ours.callback(os.close, settings)
            self._settings = os.fdopen(write_end, "wb")
            self._process = subprocess.Popen(  # noqa: S603 - our own program, no shell
                [*_talkwire(), *arguments, "--json", "--lifeline", str(os.getpid()), "--config", f"/dev/fd/{settings}"],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                pass_fds=[settings],
                process_group=0,
            )
        self._end = os.pidfd_open(self._process.pid)
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._output = trio.lowlevel.FdStream(os.dup(self._process.stdout.fileno()))
        self._errors = trio.lowlevel.FdStream(os.dup(self._process.stderr.fileno()))
        self._process.stdout.close()
        self._process.stderr.close()
        self._ended_reading = trio.Event()

    def configure(self, toml: str) -> None:
        """Give the program its settings, which lie over the files named in its arguments. Once; it waits for them."""
        with suppress(BrokenPipeError), self._settings:  # it ended; whoever waits for it will say so
            self._settings.write(toml.encode())

    async def ready(self) -> int:
        """The port it listens on, once it does; does not return if the program ends (see `watch`)."""
        async with aclosing(self.lines()) as lines:
            async for line in lines:
                return msgspec.json.decode(line, type=_Ready).port
        return await trio.sleep_forever()

    def lines(self) -> AsyncGenerator[bytes, None]:
        """What it prints, line by line, until it ends."""
        return _lines(self._output)

    async def keep_errors(self) -> None:
        """Read its stderr, so that it never waits for a reader; the last lines are kept."""
        async with aclosing(_lines(self._errors)) as lines:
            async for line in lines:
                self.error_lines.append(line.decode(errors="replace").rstrip())
        self._ended_reading.set()

    async def succeed(self) -> None:
        """Wait for its end. Raises ProgramEndedError if that is a failure."""
        await trio.lowlevel.wait_readable(self._end)
        status = self._process.wait()
        if status != 0:
            with trio.move_on_after(1):  # its grandchildren may hold the pipe open
                await self._ended_reading.wait()
            raise ProgramEndedError(self._last_words(status), status if status > 0 else TalkwireError.exit_code)

    async def watch(self) -> None:
        """A program that has to last: any end of it raises ProgramEndedError."""
        await self.succeed()
        raise ProgramEndedError(f"the {self.name} ended although it was still needed", TalkwireError.exit_code)

    async def stop(self) -> None:
        """End it: SIGTERM, after 3 s SIGKILL; afterwards there is no such process."""
        self._process.send_signal(signal.SIGTERM)  # does nothing if it has ended
        with trio.move_on_after(STOP_S):
            await trio.lowlevel.wait_readable(self._end)
        self._process.kill()
        self._process.wait()
        self._settings.close()
        os.close(self._end)
        await self._output.aclose()
        await self._errors.aclose()

    def _last_words(self, status: int) -> str:
        if said := [line.removeprefix(PREFIX) for line in self.error_lines if line.startswith(PREFIX)]:
            return "\n".join(said)
        end = f"exit code {status}" if status > 0 else signal.Signals(-status).name
        return "\n".join([f"the {self.name} ended with {end}", *self.error_lines])


@asynccontextmanager
async def open_programs() -> AsyncIterator[Start]:
    """A function that starts programs: `start(name, *arguments)`. All of them are ended when the context is left."""
    programs: list[Program] = []

    def start(name: str, *arguments: str) -> Program:
        programs.append(Program(name, arguments))
        return programs[-1]

    try:
        yield start
    finally:
        with trio.CancelScope(shield=True):
            async with trio.open_nursery() as nursery:
                for program in programs:
                    nursery.start_soon(program.stop)


class _Ready(msgspec.Struct, tag_field="event", tag="ready"):
    port: int


def _talkwire() -> list[str]:
    """The installed command if there is one beside this interpreter, else the package as it lies here."""
    script = Path(sys.executable).with_name("talkwire")
    return [str(script)] if script.exists() else [sys.executable, "-m", "pipeline"]


async def _lines(stream: trio.abc.ReceiveStream) -> AsyncGenerator[bytes, None]:
    held = bytearray()
    async for some in stream:
        held += some
        *complete, held = held.split(b"\n")
        for line in complete:
            yield bytes(line)
        del held[MAX_LINE_BYTES:]
    if held:
        yield bytes(held)
