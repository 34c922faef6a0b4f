"""What the relay shows at a terminal: the toxics in use, what is open and what went through."""

from contextlib import suppress
from typing import TYPE_CHECKING

import msgspec
import trio
from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from pipeline.proving.catalogue import Toxic
    from pipeline.proving.relay import Relay

REFRESH_S = 0.25
MAX_ROWS = 12
"""The newest connections; a terminal has 24 lines."""


async def show(relay: "Relay", console: Console) -> None:
    """Draw the relay again and again, until cancelled; lines printed meanwhile stand above."""
    live = Live(console=console, auto_refresh=False, transient=True)
    live.start()
    try:
        while True:
            live.update(picture(relay, trio.current_time()), refresh=True)
            await trio.sleep(REFRESH_S)
    finally:
        with suppress(BrokenPipeError):  # the terminal is gone; what ended the relay is the better story
            live.stop()


def picture(relay: "Relay", now: float) -> Group:
    """The relay as it is now (s, trio's clock)."""
    counts = relay.statistics
    totals = f"{counts.connections} connections, {counts.open} open, {counts.reset} reset, {counts.refused} refused"
    toxics = [f"  {in_words(toxic)}" for toxic in relay.faults.toxics] or ["  none: a healthy line"]
    table = Table("id", "age s", "up bytes", "down bytes", "toxics")
    for column in table.columns[:4]:
        column.justify = "right"
    newest = list(relay.connections.items())[-MAX_ROWS:]
    for number, each in newest:
        kinds = " ".join(tag(toxic) for toxic in each.toxics)
        table.add_row(str(number), f"{now - each.begun_s:.0f}", f"{each.up_bytes:,}", f"{each.down_bytes:,}", kinds)
    hidden = len(relay.connections) - len(newest)
    sums = f"{totals}; {counts.up_bytes:,} bytes up, {counts.down_bytes:,} down"
    return Group(
        Text(sums, "bold"), Text("\n".join(["toxics in use", *toxics])), table, f"and {hidden} older" * (hidden > 0)
    )


def in_words(toxic: "Toxic") -> str:
    """A toxic as on the command line, without what is as by default."""
    fields = [
        f" {field.name}={value}"
        for field in msgspec.structs.fields(toxic)
        if (value := getattr(toxic, field.name)) != field.default
    ]
    return tag(toxic) + "".join(fields)


def tag(toxic: "Toxic") -> str:
    """Its type."""
    return str(toxic.__struct_config__.tag)
