"""What the demo shows: live at a terminal, plain lines elsewhere."""

from contextlib import suppress
from typing import Any, Self

from rich.console import Console
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.cli import writing
from pipeline.cli.call_record import CallRecord
from pipeline.cli.timeline import MARKS
from pipeline.vocabulary.signals import AnyNotice, StateNotice, TranscriptNotice

SPEAKERS = {"user": "you", "assistant": "talkwire"}
STYLES = {"user": "cyan", "assistant": "green", "state": "bold", "starting": "dim"}


class PipedConsole(Console):
    """A console whose closed pipe is the error it is; rich would leave the program by SystemExit, through trio."""

    def print(self, *objects: Any, **options: Any) -> None:
        """As rich's. Raises as `writing` does."""
        with writing():
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        """Called by rich while it handles the error, which is raised again here."""
        raise BrokenPipeError


class Screen:
    """Shows the start of the programs, then states and words as they come. A context manager."""

    def __init__(self, console: Console) -> None:
        self._console = console
        # No refresh thread: processes are started beside this, and drawing happens only when there is news.
        self._live = Live(console=console, auto_refresh=False) if console.is_terminal else None

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._live is not None:
            with suppress(BrokenPipeError):  # the terminal is gone; what ended the demo is the better story
                self._live.stop()

    def starting(self, what: str) -> None:
        """Say what is being waited for."""
        if self._live is None:
            self._console.print(f"starting {what}", highlight=False, markup=False)
        else:
            self._live.update(_grid([("starting", "starting", what)]), refresh=True)

    def show(self, notice: AnyNotice, record: CallRecord) -> None:
        """Show what just happened."""
        if self._live is not None:
            said = [(SPEAKERS.get(line.role, line.role), line.role, line.text.strip()) for line in record.lines]
            now = ("now", "state", record.state.value.replace("_", " "))
            self._live.update(_grid([*said, now]), refresh=True)
        elif isinstance(notice, StateNotice):
            self._print("now", notice.state.value.replace("_", " "))
        elif isinstance(notice, TranscriptNotice) and notice.final and notice.text.strip():
            self._print(SPEAKERS.get(notice.role, notice.role), notice.text.strip())

    def conclude(self, timeline_ms: dict[str, float], files: dict[str, str]) -> None:
        """Show how long the answer took and where everything is."""
        self._console.print(timeline_table(timeline_ms))
        for name, path in files.items():
            self._print(name, path)

    def _print(self, who: str, what: str) -> None:
        self._console.print(f"{who:>9}  {what}", highlight=False, markup=False, soft_wrap=True)


def timeline_table(timeline_ms: dict[str, float]) -> Table:
    """The timeline of design §9 as a table."""
    table = Table(title="from the last sound of the question", title_justify="left")
    table.add_column("ms", justify="right")
    table.add_column("step", justify="right")
    table.add_column("mark")
    table.add_column("what had happened")
    previous = 0.0
    for mark, meaning in MARKS.items():
        if mark in timeline_ms:
            table.add_row(f"{timeline_ms[mark]:.0f}", f"+{timeline_ms[mark] - previous:.0f}", mark, meaning)
            previous = timeline_ms[mark]
    return table


def _grid(rows: list[tuple[str, str, str]]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(justify="right", style="dim", min_width=9)
    grid.add_column(ratio=1)
    for label, style, text in rows:
        grid.add_row(label, Text(text, style=STYLES[style]))
    return grid
