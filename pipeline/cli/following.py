"""Following a program under trio: what it prints, how it ends, and how it is told to."""

import os
import signal
from collections import deque
from typing import IO, Self

import msgspec
import trio

from pipeline.cli.programs import Program
from pipeline.vocabulary.errors import TalkwireError

STOP_S = 3.0  # s from SIGTERM to SIGKILL; the local server takes up to 2 s to say goodbye
MAX_LINE_BYTES = 1 << 20  # a notice is at most one long transcript; more is not ours
KEPT_ERROR_LINES = 20  # a traceback's end; earlier lines say how it got there
PREFIX = "talkwire: "


class ProgramEndedError(TalkwireError):
    """A program ended that was needed; its own last words and exit code are passed on."""

    def __init__(self, message: str, exit_code: int) -> None:
        super().__init__(message)
        self.exit_code = exit_code


class Follower:
    """Reads one program. `keep_errors` has to run beside everything else.

    Attributes:
        lines: what it prints, until it ends.
    """

    def __init__(self, program: Program) -> None:
        self._name = program.name
        self._process = program.process
        self._end = os.pidfd_open(program.process.pid)
        self._output = _stream(program.process.stdout)
        self._errors = _stream(program.process.stderr)
        self.lines = Lines(self._output)
        self._error_lines: deque[str] = deque(maxlen=KEPT_ERROR_LINES)
        self._errors_ended = trio.Event()

    async def until(self, event: str) -> int:
        """Wait until a server says it is "listening" or "ready"; its port.

        Does not return if the program ends before (see `watch`).
        """
        async for line in self.lines:
            said = msgspec.json.decode(line, type=_Progress)
            if said.event == event:
                return said.port
        return await trio.sleep_forever()

    async def keep_errors(self) -> None:
        """Read its stderr, so that it never waits for a reader; the last lines are kept."""
        async for line in Lines(self._errors):
            self._error_lines.append(line.decode(errors="replace").rstrip())
        self._errors_ended.set()

    async def succeed(self) -> None:
        """Wait for its end. Raises ProgramEndedError if that is a failure."""
        await trio.lowlevel.wait_readable(self._end)
        status = self._process.wait()
        if status != 0:
            with trio.move_on_after(1):  # a process of its own may hold the pipe open
                await self._errors_ended.wait()
            raise ProgramEndedError(self._last_words(status), status if status > 0 else TalkwireError.exit_code)

    async def watch(self) -> None:
        """For a program that has to last: any end of it raises ProgramEndedError."""
        await self.succeed()
        raise ProgramEndedError(f"the {self._name} ended although it was still needed", TalkwireError.exit_code)

    async def stop(self) -> None:
        """End it: SIGTERM, after 3 s SIGKILL. Not cancellable."""
        with trio.CancelScope(shield=True):
            self._process.terminate()  # does nothing if it has ended
            with trio.move_on_after(STOP_S):
                await trio.lowlevel.wait_readable(self._end)
            self._process.kill()
            self._process.wait()
            os.close(self._end)
            await self._output.aclose()
            await self._errors.aclose()

    def _last_words(self, status: int) -> str:
        if said := [line.removeprefix(PREFIX) for line in self._error_lines if line.startswith(PREFIX)]:
            return "\n".join(said)
        end = f"exit code {status}" if status > 0 else signal.Signals(-status).name
        return "\n".join([f"the {self._name} ended with {end}", *self._error_lines])


class Lines:
    """A stream cut into lines, without their ends; of a line over MAX_LINE_BYTES only the beginning is kept."""

    def __init__(self, stream: trio.abc.ReceiveStream) -> None:
        self._stream = stream
        self._held = bytearray()
        self._complete: deque[bytes] = deque()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> bytes:
        while not self._complete:
            some = await self._stream.receive_some()
            if not some:
                if not self._held:
                    raise StopAsyncIteration
                some = b"\n"  # the end of the stream ends the last line
            *complete, self._held = (self._held + some).split(b"\n")
            self._complete.extend(map(bytes, complete))
            del self._held[MAX_LINE_BYTES:]
        return self._complete.popleft()


class _Progress(msgspec.Struct):
    event: str
    port: int


def _stream(pipe: IO[bytes] | None) -> trio.lowlevel.FdStream:
    assert pipe is not None, "the program has pipes"
    return trio.lowlevel.FdStream(os.dup(pipe.fileno()))  # a descriptor of its own: both may be closed
