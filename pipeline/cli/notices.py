"""Notices as lines on stdout, written from a thread: a reader that stands still must not hold up the call."""

from collections.abc import Callable

import msgspec
import trio

from pipeline.cli import say
from pipeline.vocabulary.signals import (
    FaultNotice,
    FinishedNotice,
    Notice,
    StateNotice,
    TimelineNotice,
    TranscriptNotice,
)

HELD_LINES = 1_000  # notices while the reader stands still; the newest are dropped beyond, about a minute of speech
LAST_WORDS_S = 1.0  # so long may the reader take for what is left when the call is over


class NoticePrinter:
    """Prints notices in order. `notify` never waits; `run` does the writing until `close`."""

    def __init__(self, line_of: Callable[[Notice], str | None]) -> None:
        self._line_of = line_of
        self._sender, self._receiver = trio.open_memory_channel[str](HELD_LINES)
        self._draining = trio.CancelScope()
        self.dropped = 0
        self.nothing_heard = False

    def notify(self, notice: Notice) -> None:
        """Print this notice, if it has a line."""
        if isinstance(notice, FinishedNotice):
            self.nothing_heard = not notice.heard_speech
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
                await trio.to_thread.run_sync(_write, line, abandon_on_cancel=True)

    def close(self) -> None:
        """No more notices: `run` ends when all are written, at most a second from now."""
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
        case FinishedNotice(turns=turns):
            return f"finished after {turns} {'reply' if turns == 1 else 'replies'}"
    return None


def _write(line: str) -> None:
    say(line)
