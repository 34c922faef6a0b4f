"""How a snapshot of the daemon looks: one screen, what is wrong in red."""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from datetime import timedelta
from typing import Never

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from pipeline.vocabulary.control import DeviceState, DeviceStatus, LinkStatus, SnapshotNotice
from pipeline.vocabulary.signals import CallState

GOOD, WORN, BAD = "green", "yellow", "bold red"
FILL_WORN, FILL_BAD = 0.5, 0.9
"""Shares of what a link may hold: half full somebody is slow, nearly full something is about to give."""
COUNT_WHOLE_MAX, COUNT_THOUSANDS_MAX = 100_000, 1_000_000
ONE_SECOND_MS = 1_000
STATE_STYLES = {
    CallState.CONNECTING: WORN,
    CallState.RECONNECTING: BAD,
    CallState.ERROR: BAD,
    CallState.MUTED: "bold magenta",
}


async def follow(next_snapshot: Callable[[], Awaitable[SnapshotNotice]], console: Console) -> Never:
    """Draw every snapshot over the one before, until cancelled or `next_snapshot` raises."""
    live = Live(console=console, auto_refresh=False)
    live.start()
    try:
        while True:
            live.update(screenful(await next_snapshot(), console), refresh=True)
    finally:
        with suppress(BrokenPipeError):  # the terminal is gone; what ended this is the better story
            live.stop()


def headline(snapshot: SnapshotNotice) -> str:
    """The state and what is wrong, in one line."""
    return "; ".join([snapshot.session.state.replace("_", " "), *snapshot.troubles])


def picture(snapshot: SnapshotNotice) -> Group:
    """A snapshot as it is, however long; one of a healthy daemon has 22 lines of 80 columns."""
    return Group(_title(snapshot), *_troubles(snapshot), *_body(snapshot))


def screenful(snapshot: SnapshotNotice, console: Console) -> Group:
    """A snapshot that fits the console, for what does not is pushed off its end: the links.

    Lines are cut at the edge where they would take others' room, and the troubles have the lines that are left.
    """
    title, troubles, body = _title(snapshot), _troubles(snapshot), _body(snapshot)
    if _height(console, title, *body) + bool(troubles) > console.height:
        _cut(title, *body)
    room = max(console.height - _height(console, title, *body), 1)
    if _height(console, *troubles) > room:
        _cut(*troubles)
    if len(troubles) > room:
        first = troubles[: room - 1]  # a cause stands before its consequences
        troubles = [*first, Text(f"! {len(troubles) - len(first)} {'more ' if first else ''}troubles", BAD)]
    return Group(title, *troubles, *body)


def _troubles(snapshot: SnapshotNotice) -> list[Text]:
    return [Text(f"! {trouble}", BAD) for trouble in snapshot.troubles]


def _body(snapshot: SnapshotNotice) -> list[Text | Table]:
    return [*_call(snapshot), _processes(snapshot), _actors(snapshot), _links(snapshot)]


def _height(console: Console, *parts: RenderableType) -> int:
    return len(console.render_lines(Group(*parts), pad=False)) if parts else 0


def _cut(*parts: RenderableType) -> None:
    """Give each text one line."""
    for part in parts:
        if isinstance(part, Text):
            part.no_wrap, part.overflow = True, "ellipsis"


def _title(snapshot: SnapshotNotice) -> Text:
    session = snapshot.session
    state = session.state.replace("_", " ")
    return Text.assemble(
        f"talkwire {snapshot.version}, up {_span(snapshot.uptime_s)}: ",
        (state, STATE_STYLES.get(session.state, f"bold {GOOD}")),
        f" for {_span(session.state_age_s)}",
    )


def _call(snapshot: SnapshotNotice) -> list[Text]:
    session, voice = snapshot.session, snapshot.voice
    live = f" for {_span(session.live_age_s)}" if session.live_age_s is not None else ""
    lost = f", last lost: {session.fault}" if session.fault and not snapshot.troubles else ""
    books = " ".join(f"{fate.replace('_', ' ')} {count:,}" for fate, count in snapshot.frames.items())
    hears = "speech" if voice.active else "no speech"
    return [
        Text(f"line {session.line}{live}, talk {session.turn}, {session.turns_heard:,} answers heard{lost}"),
        Text.assemble(
            "microphone ",
            _device(snapshot.microphone),
            f", {voice.detector or 'no detector'} hears {hears}",
            ", loudspeaker ",
            _device(snapshot.loudspeaker),
        ),
        Text(f"frames {books}, {voice.speech_frames:,} of speech in {voice.utterances:,} utterances"),
        *_glitches(snapshot),
    ]


def _glitches(snapshot: SnapshotNotice) -> list[Text]:
    """What the sound has suffered, for those who hear it crackle; a device that is well says nothing."""
    words = []
    for name, device in (("microphone", snapshot.microphone), ("loudspeaker", snapshot.loudspeaker)):
        counts = {"xruns": device.glitches.xruns, "starved": device.glitches.starved}
        counts |= {"ms lost": round(device.glitches.lost_ms), "ms discarded": round(device.glitches.discarded_ms)}
        if glitches := ", ".join(f"{_short(count)} {what}" for what, count in counts.items() if count):
            words.append(f"{name} {glitches}")
    return [Text("glitches " + "; ".join(words), WORN)] if words else []


def _device(device: DeviceStatus) -> tuple[str, str]:
    styles = {DeviceState.OPEN: GOOD, DeviceState.FAILED: BAD, DeviceState.GONE: BAD}
    return f"{device.state} {device.name}".rstrip(), styles.get(device.state, WORN)


def _processes(snapshot: SnapshotNotice) -> Table:
    table = _table("process", "state", right=("pid", "up", "restarts", "beat ms", "MB"))
    for each in snapshot.processes:
        table.add_row(
            each.name,
            Text(each.state, GOOD if each.state == "running" else BAD),
            str(each.pid or ""),
            _span(each.uptime_s) if each.pid else "",
            _count(each.restarts, WORN),
            "" if each.beat_age_s is None else f"{each.beat_age_s * 1000:.0f}",
            "" if each.resident_bytes is None else f"{each.resident_bytes / 1e6:.0f}",
        )
    return table


def _actors(snapshot: SnapshotNotice) -> Text:
    line = Text("actors")
    for each in snapshot.actors:
        style = BAD if each.state != "running" else WORN if each.restarts else GOOD
        restarts = f" ({each.restarts} restarts)" if each.restarts else ""
        line.append(f" {each.name}{'' if each.state == 'running' else f' {each.state}'}{restarts}", style)
    return line


def _links(snapshot: SnapshotNotice) -> Table:
    table = _table("link", "from", "to", right=("held", "of", "sent", "recv", "drop", "stale", "lost", "wait"))
    for link in snapshot.links:
        table.add_row(link.name, link.source, link.target, *_flow(link))
    return table


def _flow(link: LinkStatus) -> list[RenderableType]:
    """Both sides of a link as one: it begins on the first and ends on the last."""
    if not link.sides:
        return []
    loses = link.overflow in {
        "drop_oldest",
        "fail",
    }  # where a sender waits, or a newer value is all that counts, none is
    held = sum(side.held for side in link.sides)
    fill = max(side.held for side in link.sides) / link.hold
    full = BAD if fill >= FILL_BAD else WORN if fill >= FILL_WORN else ""
    lost = [sum(counts) for counts in zip(*((s.dropped, s.stale, s.lost, s.waiting) for s in link.sides), strict=True)]
    return [
        Text(f"{held:,.0f}", full if loses else ""),
        _hold(link),
        _short(link.sides[0].sent),
        _short(link.sides[-1].received),
        _count(lost[0], WORN if loses else ""),
        _short(lost[1]),
        _count(lost[2], WORN),
        _short(lost[3]),
    ]


def _table(*left: str, right: tuple[str, ...]) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    for name in left:
        table.add_column(name, no_wrap=True)
    for name in right:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def _count(count: int, style: str) -> Text:
    return Text(_short(count), style if count else "")


def _hold(link: LinkStatus) -> str:
    """What a link may hold; items are just counted."""
    if link.unit != "ms":
        return f"{link.hold:,.0f}"
    return f"{link.hold / 1000:g} s" if link.hold >= ONE_SECOND_MS else f"{link.hold:g} ms"


def _short(count: int) -> str:
    """A count that fits its column after months: 4.3 million frames come in a day."""
    if count < COUNT_WHOLE_MAX:
        return f"{count:,}"
    return f"{count / 1e3:.0f}k" if count < COUNT_THOUSANDS_MAX else f"{count / 1e6:,.1f}M"


def _span(seconds: float) -> str:
    return str(timedelta(seconds=int(seconds)))
