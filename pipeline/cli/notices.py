"""Notices as lines on stdout, written from a thread: a reader that stands still must not hold up the call."""

import os
import sys
from collections.abc import Callable

import msgspec
import trio

from pipeline.core.flood import FloodGate
from pipeline.vocabulary.signals import (
    FaultNotice,
    FinishedNotice,
    Notice,
    OmittedNotice,
    ReloadNotice,
    StateNotice,
    TimelineNotice,
    TranscriptNotice,
)

HELD_LINES = 1_000  # notices while the reader stands still; the newest are dropped beyond, about a minute of speech
LAST_WORDS_S = 1.0  # so long may the reader take for what is left when the call is over


class NoticePrinter:
    """Prints notices in order. `notify` never waits; `run` does the writing until `close`.

    What is not printed is counted, and told as soon as that can be: a fault that repeats itself too fast, lines that
    the reader is too slow for, or that a full disk does not take.

    Attributes:
        dropped: lines that could not be written and are not told of yet.
        nothing_heard: the call is over and nobody spoke.
    """

    def __init__(self, line_of: Callable[[Notice], str | None]) -> None:
        self._line_of = line_of
        self._sender, self._receiver = trio.open_memory_channel[str](HELD_LINES)
        self._draining = trio.CancelScope()
        self._gate = FloodGate()
        self._output = Output()
        self.dropped = 0
        self.nothing_heard = False

    def notify(self, notice: Notice) -> None:
        """Print this notice, if it has a line."""
        if isinstance(notice, FinishedNotice):
            self.nothing_heard = not notice.heard_speech
        if isinstance(notice, FaultNotice):
            cause = notice.fault.cause or notice.fault.kind
            omitted = self._gate.admit(cause, trio.current_time())
            if omitted is None:
                return
            if omitted:
                self._print(OmittedNotice(omitted, cause))
        self._print(notice)

    def _print(self, notice: Notice) -> None:
        line = self._line_of(notice)
        if line is not None:
            try:
                self._sender.send_nowait(line)
            except trio.WouldBlock:
                self.dropped += 1

    async def run(self) -> None:
        """Write until closed. Raises BrokenPipeError when nobody reads any more."""
        with self._draining:
            async for line in self._receiver:
                if self.dropped and (told := self._line_of(OmittedNotice(self.dropped, "output"))) is not None:
                    self.dropped = 0 if await self._write(told) else self.dropped
                if not await self._write(line):
                    self.dropped += 1

    async def _write(self, line: str) -> bool:
        return await trio.to_thread.run_sync(self._output.write, line, abandon_on_cancel=True)

    def close(self) -> None:
        """No more notices: `run` ends when all are written, at most a second from now."""
        for cause, omitted in self._gate.omitted().items():
            self._print(OmittedNotice(omitted, cause))
        self._sender.close()
        self._draining.deadline = trio.current_time() + LAST_WORDS_S


def json_line(notice: Notice) -> str:
    """The notice as one JSON object: the shape of the control protocol (design §9)."""
    return msgspec.json.encode(notice).decode()


def text_line(notice: Notice, *, with_speech: bool) -> str | None:
    """The notice for a person, or None if it says nothing to one; words spoken only where no log keeps them."""
    match notice:
        case StateNotice(state=state):
            return state.value.replace("_", " ")
        case TranscriptNotice(role=role, text=text, final=True) if with_speech:
            return f"  {role}: {text}"
        case TimelineNotice(timeline_ms={"first_audible_sample": latency_ms}):
            return f"  answered after {latency_ms:.0f} ms"
        case FaultNotice(fault=fault, retry_in_s=None):
            return f"  {fault.message}"
        case FaultNotice(fault=fault, retry_in_s=retry_in_s):
            return f"  {fault.message}; trying again in {retry_in_s:.1f} s"
        case ReloadNotice() | OmittedNotice():
            return "\n".join(f"  {remark}" for remark in _remarks(notice))
        case FinishedNotice(turns=turns):
            return f"finished after {turns} {'reply' if turns == 1 else 'replies'}"
    return None


def _remarks(notice: ReloadNotice | OmittedNotice) -> list[str]:
    if isinstance(notice, OmittedNotice):
        return [f"{notice.count} more {'line' if notice.count == 1 else 'lines'} left out ({notice.cause})"]
    remarks = [f"applied: {path}" for path in notice.applied]
    remarks += [f"needs a restart: {path}" for path in notice.needs_restart]
    remarks += [f"settings kept: {problem}" for problem in notice.problems]
    return remarks or ["settings unchanged"]


class Output:
    """stdout without a buffer: a line that cannot be written is gone, and does not come back with the next one."""

    def __init__(self) -> None:
        self._torn = False

    def write(self, line: str) -> bool:
        """Write one line; False if it could not be written, for a full disk. Raises BrokenPipeError."""
        if sys.stdout is None:
            return True  # the shell closed it: nobody wants to know
        text = f"\n{line}\n" if self._torn else f"{line}\n"
        rest = text.encode(sys.stdout.encoding, errors="replace")
        try:
            while rest:
                rest = rest[os.write(sys.stdout.fileno(), rest) :]
                self._torn = bool(rest)
        except BrokenPipeError:
            raise
        except OSError:
            return False
        return True
